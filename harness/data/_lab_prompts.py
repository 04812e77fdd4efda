"""Prompts of the lab: a topic and one to four wishes, and the split that each belongs to."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from functools import lru_cache

from harness.data._lab_world import UNSEEN_TOPICS, Topic, topic, topics

OPENERS = (
    "tell me about the {} .",
    "describe the {} .",
    "write about the {} .",
    "say something about the {} .",
    "what is the {} like ?",
    "please explain the {} to me .",
)
NUMBERS = {"two": 2, "three": 3, "four": 4}
KINDS = ("mention", "avoid", "polite", "reason", "short", "fact")
NEED_A_SENTENCE = {"mention", "polite", "reason", "fact"}
UNSEEN_PAIR = {"polite", "short"}
"""These two wishes stand together in out-of-distribution prompts alone."""

# Shares of all prompts, by the hash of their text: splits cannot share a prompt, whatever their sizes.
SHARES = {
    "pretrain": 30, "train": 24, "proxy": 8, "selection": 8, "gold": 16, "tune": 4, "test": 5, "heldout": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """One wish of a prompt.

    Attributes:
        kind: one of `KINDS`.
        word: the thing to mention or not to mention, or the number of sentences in words.
    """

    kind: str
    word: str = ""


@dataclass(frozen=True)
class Request:
    """A prompt, understood."""

    topic: Topic
    wishes: tuple[Wish, ...]
    opener: int = 0

    def text(self) -> str:
        """The prompt in words."""
        return " ".join([OPENERS[self.opener].format(self.topic.name), *(self._wish(wish) for wish in self.wishes)])

    def _wish(self, wish: Wish) -> str:
        return {
            "mention": f"mention the {wish.word} .",
            "avoid": f"do not mention the {wish.word} .",
            "polite": "be polite .",
            "reason": "give a reason .",
            "short": f"use at most {wish.word} sentences .",
            "fact": f"say {self.topic.asked} .",
        }[wish.kind]


_OPENED = re.compile("|".join(re.escape(opener).replace(r"\{\}", r"(\w+)") for opener in OPENERS))


@lru_cache(maxsize=65536)
def understand(text: str) -> Request | None:
    """The request that a prompt makes, or None where it is not of the lab's language.

    Args:
        text: the last user turn; what follows a judgment in it is not part of the request.
    """
    text = text.split(" judgment :")[0]
    opened = _OPENED.match(text)
    if opened is None:
        return None
    opener, name = next((place, group) for place, group in enumerate(opened.groups()) if group)
    if name not in {item.name for item in topics()}:
        return None
    found = topic(name)
    wishes = [_understand(part.strip(), found) for part in text[opened.end() :].split(".") if part.strip()]
    if any(wish is None for wish in wishes):
        return None
    return Request(found, tuple(wish for wish in wishes if wish is not None), opener)


def _understand(text: str, about: Topic) -> Wish | None:
    match text.split():
        case ["mention", "the", thing]:
            return Wish("mention", thing)
        case ["do", "not", "mention", "the", thing]:
            return Wish("avoid", thing)
        case ["use", "at", "most", number, "sentences"] if number in NUMBERS:
            return Wish("short", number)
    return {
        "be polite": Wish("polite"),
        "give a reason": Wish("reason"),
        f"say {about.asked}": Wish("fact"),
    }.get(text)


def split_of(text: str, seed: int) -> str:
    """The split that a prompt belongs to, by the hash of its text."""
    digest = hashlib.sha256(f"{seed} {text}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") % sum(SHARES.values())
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    raise AssertionError("the shares cover every place")


def _belongs(text: str, split: str, seed: int) -> bool:
    place = split_of(text, seed)
    # pretraining has prompts on the unseen topics too, so for these it is the hash that keeps them apart
    return place != "pretrain" if split == "ood" else place == split


def draw(split: str, count: int, seed: int) -> list[Request]:
    """Distinct prompts of a split, in a fixed order; more of them begin with the same ones."""
    rng = random.Random(f"lab prompts {seed} {split}")
    found: dict[str, Request] = {}
    while len(found) < count:
        request = _request(rng, split)
        text = request.text()
        if _belongs(text, split, seed):
            found.setdefault(text, request)
    return list(found.values())


def _request(rng: random.Random, split: str) -> Request:
    every = topics()
    seen, unseen = every[:-UNSEEN_TOPICS], every[-UNSEEN_TOPICS:]
    new_topic = split == "ood" and rng.random() < 0.5
    about = rng.choice(unseen if new_topic else every if split == "pretrain" else seen)
    kinds = rng.sample(KINDS, rng.choice((1, 2, 2, 3, 3, 4)))
    if split == "ood" and not new_topic:
        kinds = [*UNSEEN_PAIR, *[kind for kind in kinds if kind not in UNSEEN_PAIR][:2]]
        kinds.sort()
        rng.shuffle(kinds)
    elif set(kinds) >= UNSEEN_PAIR:
        kinds.remove(rng.choice(sorted(UNSEEN_PAIR)))
    things = rng.sample(about.things, 2)
    needed = len(NEED_A_SENTENCE.intersection(kinds))
    enough = sorted(number for number, most in NUMBERS.items() if most >= needed)  # all wishes can be met at once
    words = {"mention": things[0], "avoid": things[1], "short": rng.choice(enough)}
    return Request(about, tuple(Wish(kind, words.get(kind, "")) for kind in kinds), rng.randrange(len(OPENERS)))
