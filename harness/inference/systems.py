"""Systems: a policy and a way of using it, and the table of what it answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, nearest
from harness.inference.opened import open_policy
from harness.inference.proxy import Proxy
from harness.inference.rendering import check_templates, end_token, prompt_hash, render_prompt
from harness.inference.sampling import Sampled, noise, sample
from harness.metrics import Measurement

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.data import Dataset, Message, Row
    from harness.stages import Sample

FILE = "samples.parquet"
FINAL = -1
"""`step` of the final policy in the tables."""


class TooLong(HarnessError):
    """Prompts leave no room for a response in what a model reads."""


def check_lengths(lengths: Sequence[int], response: int, positions: int | None, model: str = "the model") -> None:
    """Refuse prompts that a model cannot read together with the longest response.

    Args:
        lengths: tokens of each prompt.
        response: tokens of the longest response.
        positions: tokens that the model reads; None where there is no limit.
        model: what the message calls it.

    Raises:
        TooLong: how many there are, and what helps.
    """
    long = [length for length in lengths if positions is not None and length + response > positions]
    if long:
        raise TooLong(
            f"{len(long)} of {len(lengths)} prompts to answer leave no room for budget.max_response_tokens = "
            f"{response} in the {positions} tokens that {model} reads, the longest has {max(long)}; take them out of "
            "the data, lower budget.max_response_tokens, or take a model that reads more"
        )


def policy_folder(train: Path, step: int | None) -> Path:
    """Where a Train stage keeps its policy, or the one after a step."""
    return train / ("policy" if step is None else f"policy-step-{step}")


def write_samples(
    out: Path, inputs: dict[str, Path], rows: list[Row], dataset: Dataset, stage: Sample
) -> list[Measurement]:
    """Sample K responses to each prompt and write `samples.parquet`.

    `response` is the text without special tokens; `token_ids` holds all tokens of the response itself.

    Args:
        out: where to write.
        inputs: `policy`, the folder of a Train stage, and `reward` where the procedure chooses by it.
        rows: the prompts.
        dataset: for its rule reward and judge.
        stage: how to sample.

    Raises:
        HarnessError: the procedure is not known, the chat template cannot be trusted, or a prompt is too long for the
            model.
        FloatingPointError: the policy gives probabilities that are not finite.
    """
    from harness.inference.quiet import quiet

    procedure, options = _procedure(stage.procedure)
    quiet(stage.threads)
    model, tokenizer = open_policy(policy_folder(inputs["policy"], stage.step))
    check_templates(tokenizer, rows)
    places = [(row, k) for row in rows for k in range(stage.samples)]
    answers = procedure(System(model, tokenizer, dataset, inputs, stage), places, **options)
    hashes = {row["prompt_id"]: prompt_hash(render_prompt(tokenizer, row["prompt"])) for row in rows}
    _write(out / FILE, places, hashes, answers, FINAL if stage.step is None else stage.step)
    return _summary(answers)


@dataclass(frozen=True)
class Answer:
    """What a system says.

    Attributes:
        response: its tokens.
        text: without special tokens.
        spent: tokens generated on the way to it, its own among them.
    """

    response: Sampled
    text: str
    spent: int


@dataclass(frozen=True)
class System:
    """A policy, and all that a procedure may use beside it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dataset: Dataset
    inputs: dict[str, Path]
    stage: Sample

    def respond(self, asked: Sequence[tuple[Row, int]], prompts: Sequence[list[Message]], what: str) -> list[Answer]:
        """One response to each prompt.

        Args:
            asked: the row and k that each response is for; they fix its sampling noise.
            prompts: what the policy is given.
            what: a word that tells this draw from others for the same rows; empty for the plain one.

        Raises:
            TooLong: the model cannot read a prompt and a response.
        """
        stage = self.stage
        root = f"{stage.seed} {what}" if what else stage.seed
        rendered = [render_prompt(self.tokenizer, prompt) for prompt in prompts]
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        check_lengths([len(ids) for ids in dict.fromkeys(map(tuple, rendered))], stage.max_response_tokens, positions)
        drawn = sample(
            self.model,
            rendered,
            [noise(root, row["prompt_id"], k, stage.max_response_tokens) for row, k in asked],
            end_id=end_token(self.tokenizer),
            pad_id=self.tokenizer.pad_token_id,
            temperature=stage.temperature,
            batch=stage.batch,
        )
        texts = self.tokenizer.batch_decode([one.token_ids for one in drawn], skip_special_tokens=True)
        return [Answer(one, text, len(one.token_ids)) for one, text in zip(drawn, texts, strict=True)]

    def worth(self, asked: Sequence[tuple[Row, int]], texts: Sequence[str]) -> list[float]:
        """What the proxy gives for responses."""
        return Proxy(self.dataset, self.stage.rule, self.inputs.get("reward")).score(
            [(row["prompt"], text) for (row, _), text in zip(asked, texts, strict=True)], self.stage.batch
        )


Places = Sequence[tuple["Row", int]]


def plain(system: System, places: Places) -> list[Answer]:
    """The policy's own responses."""
    return system.respond(places, [row["prompt"] for row, _ in places], "")


def best_of_n(system: System, places: Places, n: int) -> list[Answer]:
    """Of n responses of the policy, the one that the proxy reward likes best; the first of equals.

    The first of them is the plain response, and those of a smaller n are the first ones of a larger n.
    """
    prompts = [row["prompt"] for row, _ in places]
    drawn = [system.respond(places, prompts, f"candidate {i}" if i else "") for i in range(n)]
    worth = system.worth([*places] * n, [one.text for part in drawn for one in part])
    found = []
    for place in range(len(places)):
        best = max(range(n), key=lambda i: worth[i * len(places) + place])
        found.append(replace(drawn[best][place], spent=sum(part[place].spent for part in drawn)))
    return found


def positive_judgment(system: System, places: Places) -> list[Answer]:
    """The policy's responses to prompts that say that the response deserves praise."""
    return system.respond(places, [system.dataset.judged(row["prompt"], None) for row, _ in places], "")


def respond_judge_respond(system: System, places: Places) -> list[Answer]:
    """The policy's responses; where the judge finds fault, its second try with response and judgment in the prompt."""
    first = plain(system, places)
    said = [system.dataset.judge(row["prompt"], one.text) for (row, _), one in zip(places, first, strict=True)]
    faulty = [i for i, judgment in enumerate(said) if judgment is not None]
    prompts = [system.dataset.again(places[i][0]["prompt"], first[i].text, str(said[i])) for i in faulty]
    second = system.respond([places[i] for i in faulty], prompts, "again") if faulty else []
    found = list(first)
    for i, one in zip(faulty, second, strict=True):
        found[i] = replace(one, spent=first[i].spent + one.spent)
    return found


PROCEDURES: dict[str, Callable[..., list[Answer]]] = {
    procedure.__name__: procedure for procedure in (plain, best_of_n, positive_judgment, respond_judge_respond)
}
"""Ways of using a policy, by name."""


def _procedure(asked: dict[str, Any]) -> tuple[Callable[..., list[Answer]], dict[str, Any]]:
    options = {name: value for name, value in asked.items() if name != "name"}
    name = asked.get("name", "")
    if name not in PROCEDURES:
        known = ", ".join(PROCEDURES)
        raise HarnessError(f"there is no inference procedure '{name}'{nearest(name, PROCEDURES)} (known: {known})")
    takes = list(inspect.signature(PROCEDURES[name]).parameters)[2:]
    if sorted(takes) != sorted(options):
        given = ", ".join(sorted(options)) or "nothing"
        raise HarnessError(
            f"the inference procedure '{name}' takes {', '.join(takes) or 'no options'}; it was given {given}"
        )
    return PROCEDURES[name], options


def _write(path: Path, places: Places, hashes: dict[str, str], answers: list[Answer], step: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "prompt_id": [row["prompt_id"] for row, _ in places],
        "k": [k for _, k in places],
        "step": [step] * len(places),
        "prompt_hash": [hashes[row["prompt_id"]] for row, _ in places],
        "response": [answer.text for answer in answers],
        "token_ids": pa.array([answer.response.token_ids for answer in answers], pa.list_(pa.int32())),
        "logps": pa.array([answer.response.logps for answer in answers], pa.list_(pa.float32())),  # as computed
        "end": [answer.response.end for answer in answers],
        "spent_tokens": [answer.spent for answer in answers],
    }
    floats, others = ["logps.list.element"], [name for name in columns if name not in ("logps", "token_ids")]
    pq.write_table(
        pa.table(columns),
        path,
        compression="zstd",
        use_byte_stream_split=floats,  # two thirds of the size, and no bit is lost
        use_dictionary=[*others, "token_ids.list.element"],
    )


def _summary(answers: list[Answer]) -> list[Measurement]:
    n = len(answers)
    tokens = sum(len(answer.response.token_ids) for answer in answers)
    cut = sum(answer.response.end == "length" for answer in answers)
    return [
        Measurement("responses", n, 1, "responses"),
        Measurement("generated_tokens", sum(answer.spent for answer in answers), 1, "tokens"),
        Measurement("mean_length", tokens / n, n, "tokens"),
        Measurement("truncated", cut / n, n, "share", "lower"),
    ]
