"""The embedded lab: a small language with an exact oracle, made from a seed, with no download."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from harness import keys
from harness.data import SPLITS, VIEWS, Dataset, Message, Row
from harness.data import _lab_oracle as oracle
from harness.data import _lab_tasks as lab_tasks
from harness.data import _lab_writer as writer
from harness.data._lab_prompts import NUMBERS, OPENERS, Request, draw, understand
from harness.data._lab_world import sentences, topics
from harness.errors import HarnessError
from harness.knobs import Between, above, knob

GOOD = "the response is good ."
AGAIN = "try again ."
JUDGE = "judgment :"
JUDGED, SECOND_TRIES = 0.5, 0.15
"""Shares of the pretraining text that have a judgment in the prompt, and a second try after one."""


@dataclass(frozen=True)
class Lab(Dataset):
    """Requests with checkable wishes, responses with planted errors, annotators who follow Bradley-Terry.

    An annotator's utility is oracle total / temperature + length_bias × words; the more useful of two responses is
    preferred with probability σ(gap), and then labels are flipped at flip_rate.
    """

    version: ClassVar[int] = 2
    views: ClassVar[frozenset[str]] = frozenset(VIEWS)
    rewards: ClassVar[tuple[str, ...]] = oracle.DIMENSIONS
    judges: ClassVar[bool] = True
    annotates: ClassVar[bool] = True
    praise: ClassVar[str] = GOOD
    tasks: ClassVar[tuple[str, ...]] = lab_tasks.TASKS
    refusal: ClassVar[str] = "i can not help with that ."

    seed: int = knob(0, doc="of the world's prompts, responses and annotators")
    train: int = knob(1920, valid=Between(1, 50000), doc="prompts to train policies on")
    proxy: int = knob(1280, valid=Between(1, 20000), doc="prompts to train the proxy reward model on")
    selection: int = knob(1280, valid=Between(1, 20000), doc="prompts to train the selection reward model on")
    gold: int = knob(3840, valid=Between(1, 50000), doc="prompts to train the gold reward model on")
    pretrain: int = knob(19200, valid=Between(1, 200000), doc="conversations to pretrain on")
    evaluation: int = knob(256, valid=Between(1, 10000), doc="prompts in each of tune, test and ood")
    heldout: int = knob(512, valid=Between(1, 10000), doc="labelled pairs to measure accuracy on")
    temperature: float = knob(0.4, valid=above(0), doc="of the annotators: oracle units that are one log-odd")
    flip_rate: float = knob(0.0, valid=Between(0, 0.5), doc="share of labels that are flipped")
    length_bias: float = knob(0.05, doc="log-odds that an annotator gives for each word")
    text_skill: float = knob(0.7, valid=Between(0, 1), doc="the most skill that who wrote the pretraining text has")
    demonstration_skill: float = knob(0.4, valid=Between(0, 1), doc="skill of who wrote the demonstrations")
    desirable_share: float = knob(0.5, valid=Between(0.05, 0.95), doc="share of binary rows that are desirable")
    blame_share: float = knob(0.5, valid=Between(0, 1), doc="share of judgments that find something wrong")
    ranking_size: int = knob(4, valid=Between(4, 9), doc="responses in a ranking")
    garbled: float = knob(
        0.0, valid=Between(0, 1), later=True, doc="share of free sentences that a writer of no skill puts out of order"
    )

    def rows(self, view: str, split: str) -> list[Row]:
        """All rows of a view in a split; a pure function of the knobs."""
        if view not in VIEWS or split not in SPLITS:
            raise HarnessError(f"the lab has no {view} in split '{split}'")
        return list(_rows(self, view, split))

    def score(self, prompt: list[Message], response: str) -> dict[str, float]:
        """The oracle: `total` and its four parts."""
        return oracle.score(_request(prompt), response)

    def judge(self, prompt: list[Message], response: str) -> str | None:
        """What is wrong, in words; None where nothing is."""
        return oracle.judge(_request(prompt), response)

    def prefers(self, prompt: list[Message], first: str, second: str, seed: int) -> bool:
        """Bradley-Terry with this lab's temperature, length bias and flip rate, as its own pairs are labelled."""
        return _preferred(self, _request(prompt), first, second, random.Random(f"lab prefers {seed}"))

    def refuses(self, prompt: list[Message], response: str) -> bool:
        """Whether a sentence of it is a refusal of the language."""
        return oracle.refuses(response)

    def write_tasks(self, folder: Path) -> None:
        """Facts to choose and facts to say, on prompts of the split `test`."""
        lab_tasks.write_tasks(folder, self.seed)

    def judged(self, prompt: list[Message], judgment: str | None) -> list[Message]:
        """As pretraining has shown it."""
        return [*prompt[:-1], {"role": "user", "content": f"{prompt[-1]['content']} {JUDGE} {judgment or GOOD}"}]

    def again(self, prompt: list[Message], response: str, judgment: str) -> list[Message]:
        """As pretraining has shown it."""
        said = {"role": "assistant", "content": response}
        return [*prompt, said, {"role": "user", "content": f"{judgment} {AGAIN}"}]

    def verdict(self, prompt: list[Message], response: str) -> list[Message]:
        """In the lab's words; pretraining has not shown it."""
        return [*prompt, {"role": "assistant", "content": response}, {"role": "user", "content": JUDGE}]

    def vocabulary(self) -> list[str]:
        """Every word of the language, sorted."""
        return list(_vocabulary())


def _request(prompt: list[Message]) -> Request:
    found = understand(prompt[-1]["content"])
    if found is None:
        raise HarnessError(f"the lab's oracle cannot read the prompt {prompt[-1]['content']!r}")
    return found


@lru_cache(maxsize=32)
def _rows(lab: Lab, view: str, split: str) -> tuple[Row, ...]:
    sizes = {name: getattr(lab, name) for name in ("train", "proxy", "selection", "gold", "pretrain", "heldout")}
    requests = draw(split, sizes.get(split, lab.evaluation), lab.seed)
    if view == "text":
        texts = (_text(lab, request, split) for request in requests)
        return tuple({"id": f"{split}-{place}", "messages": text} for place, text in enumerate(texts))
    make = _MAKERS[view]
    found: list[Row] = []
    for place, request in enumerate(requests):
        prompt = [{"role": "user", "content": request.text()}]
        common = {"prompt_id": keys.key([dict(message) for message in prompt]), "prompt": prompt}
        for part, row in enumerate(make(lab, request, split)):
            found.append({"id": f"{split}-{place}-{part}", **common, **row})
    return tuple(found)


def _rng(lab: Lab, what: str, request: Request) -> random.Random:
    return random.Random(f"lab {lab.seed} {what} {request.text()}")


def _written(lab: Lab, request: Request, skill: float, rng: random.Random) -> str:
    return writer.write(request, skill, rng, lab.garbled)


def _demonstrations(lab: Lab, request: Request, split: str) -> list[Row]:
    rng = _rng(lab, "demonstrations", request)
    skill = min(1.0, max(0.0, rng.gauss(lab.demonstration_skill, 0.1)))
    return [{"response": _written(lab, request, skill, rng)}]


def _two(lab: Lab, request: Request) -> tuple[str, str]:
    """Two different responses of writers whose skill is anything, the preferred one first."""
    rng = _rng(lab, "pairs", request)
    first = second = _written(lab, request, rng.random(), rng)
    while second == first:
        second = _written(lab, request, rng.random(), rng)
    return (first, second) if _preferred(lab, request, first, second, rng) else (second, first)


def _preferred(lab: Lab, request: Request, first: str, second: str, rng: random.Random) -> bool:
    values = [writer.utility(request, text, lab.temperature, lab.length_bias) for text in (first, second)]
    return writer.prefers(values[0] - values[1], lab.flip_rate, rng)


def _pairs(lab: Lab, request: Request, split: str) -> list[Row]:
    chosen, rejected = _two(lab, request)
    rng = _rng(lab, "dimensions", request)
    scores = [oracle.score(request, text) for text in (chosen, rejected)]
    labels = {name: _label(lab, scores[0][name] - scores[1][name], rng) for name in oracle.DIMENSIONS[1:]}
    return [{"chosen": chosen, "rejected": rejected, "preferred": labels}]


def _label(lab: Lab, gap: float, rng: random.Random) -> int:
    """What an annotator says of one dimension: nothing where the two responses are equal in it."""
    if gap == 0:
        return 0
    return 1 if writer.prefers(gap / lab.temperature, lab.flip_rate, rng) else -1


def _binary(lab: Lab, request: Request, split: str) -> list[Row]:
    """The responses of the pairs, each by itself with the label that the comparison gave it.

    Another share than a half leaves out rows of the label that there is too much of.
    """
    chosen, rejected = _two(lab, request)
    rows: list[Row] = [{"response": chosen, "label": True}, {"response": rejected, "label": False}]
    odds = lab.desirable_share / (1 - lab.desirable_share)
    left_out = _rng(lab, "left out", request).random() >= min(odds, 1 / odds)
    return [row for row in rows if not left_out or row["label"] == (odds > 1)]


def _rankings(lab: Lab, request: Request, split: str) -> list[Row]:
    """Responses by utility with Gumbel noise, which is Plackett-Luce and so agrees with Bradley-Terry on each pair."""
    rng = _rng(lab, "rankings", request)
    texts: dict[str, float] = {}
    while len(texts) < lab.ranking_size:
        text = _written(lab, request, rng.random(), rng)
        noise = rng.expovariate(1.0) or 1e-300
        texts.setdefault(text, writer.utility(request, text, lab.temperature, lab.length_bias) - math.log(noise))
    return [{"responses": sorted(texts, key=lambda text: -texts[text])}]


def _judgments(lab: Lab, request: Request, split: str) -> list[Row]:
    rng = _rng(lab, "judgments", request)
    blamed = rng.random() < lab.blame_share
    response = _written(lab, request, rng.random(), rng)
    while bool(oracle.read(request, response).faults) != blamed:
        response = _written(lab, request, rng.random(), rng)
    spans = [[fault.first, fault.last] for fault in oracle.read(request, response).faults if fault.first < fault.last]
    return [{"response": response, "judgment": oracle.judge(request, response), "error_spans": spans}]


def _prompts(lab: Lab, request: Request, split: str) -> list[Row]:
    return [{}]


_MAKERS: dict[str, Callable[[Lab, Request, str], list[Row]]] = {
    "demonstrations": _demonstrations,
    "pairs": _pairs,
    "binary": _binary,
    "rankings": _rankings,
    "judgments": _judgments,
    "prompts": _prompts,
}


def _text(lab: Lab, request: Request, split: str) -> list[Message]:
    """A conversation to pretrain on: plain, with a judgment in the prompt, or with a second try."""
    rng = _rng(lab, "text", request)
    prompt: list[Message] = [{"role": "user", "content": request.text()}]
    response = _written(lab, request, rng.random() * lab.text_skill, rng)
    kind, judgment = rng.random(), oracle.judge(request, response)
    if kind > 1 - SECOND_TRIES and judgment:
        better = {"role": "assistant", "content": writer.mend(request, response, rng)}
        return [*lab.again(prompt, response, judgment), better]
    if kind < JUDGED:
        prompt = lab.judged(prompt, judgment)
    return [*prompt, {"role": "assistant", "content": response}]


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[str, ...]:
    """Words of all sentences, wishes, judgments and numbers."""
    spoken = [
        *sentences(),
        *(opener.format("") for opener in OPENERS),
        GOOD,
        AGAIN,
        f"{JUDGE} mention the do not .",
        *NUMBERS,
    ]
    spoken += [f"say {item.asked} {item.name}" for item in topics()]
    spoken += ["be polite give a reason use at most sentences say"]
    spoken += [
        "the response is rude false says nothing it twice does not answer makes no sense about something else must not",
        "mention has more than sentences polite give a reason say truth",
    ]
    return tuple(sorted({word for text in spoken for word in text.split()} | {"."}))
