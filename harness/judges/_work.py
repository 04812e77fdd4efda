"""The work of a Judge stage: both orders of every comparison, and what they say together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import keys
from harness.errors import HarnessError
from harness.judges import Asking, Question, open_judge
from harness.judges._journal import Journal
from harness.judges._words import FIRST, SECOND, TIE, render, verdict
from harness.metrics import Measurement, Value
from harness.metrics._grade import write_scores

if TYPE_CHECKING:
    from harness.data import Dataset, Message, Row
    from harness.stages import Judge

WIN, INCONSISTENT, SHOWN_FIRST = "judge_win", "judge_inconsistent", "judge_first"
UNREADABLE_SHARE = 0.1
"""Above this share of answers without a verdict the judge has not done its work, and the stage fails."""


@dataclass(frozen=True)
class Judged:
    """What both orders of one comparison say.

    Attributes:
        win: 1 the system's response is better, 0 the start's, ½ neither.
        consistent: both orders name the same response, or a tie.
        firsts: for each order with a winner, whether it was the response shown first.
        unreadable: orders whose answer holds no verdict.
    """

    prompt_id: str
    win: float
    consistent: bool
    firsts: tuple[bool, ...] = ()
    unreadable: int = 0


def combine(prompt_id: str, forward: str, backward: str) -> Judged:
    """Two verdicts on one comparison; in `forward` the system's response stands first, in `backward` the start's.

    Orders that contradict each other decide nothing, and an answer without a verdict does not either: both are ½.
    """
    firsts = tuple(word == FIRST for word in (forward, backward) if word in (FIRST, SECOND))
    unreadable = (forward, backward).count("")
    turned = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}.get(backward, "")
    consistent = forward != "" and forward == turned
    win = {FIRST: 1.0, SECOND: 0.0}.get(forward, 0.5) if consistent else 0.5
    return Judged(prompt_id, win, consistent, firsts, unreadable)


def judge(
    out: Path, inputs: dict[str, Path], rows: list[Row], dataset: Dataset, stage: Judge, asking: Asking
) -> list[Measurement]:
    """Ask about the first sample of each prompt, system against start; write `scores.parquet` and `answers.parquet`.

    Equal responses are a tie that nobody is asked about. Answers are kept in a journal as they come, so that an attempt
    after a failure asks only what is left.

    Raises:
        HarnessError: the samples are not of the same prompts, or too many answers hold no verdict.
        NetworkError: the judge cannot be reached.
    """
    prompts: dict[str, list[Message]] = {row["prompt_id"]: row["prompt"] for row in rows}
    own, other = (_first_samples(inputs[role]) for role in ("sample", "start_sample"))
    missing = [prompt for prompt in prompts if prompt not in own or prompt not in other]
    if missing:
        raise HarnessError(f"{len(missing)} of {len(prompts)} prompts lack a response of the system or of the start")
    pairs = {prompt: (own[prompt], other[prompt]) for prompt in prompts}
    questions = [
        question
        for prompt, (a, b) in pairs.items()
        if a != b
        for question in (_question(stage, prompts[prompt], a, b), _question(stage, prompts[prompt], b, a))
    ]
    answers = _asked(out, questions, dataset, stage, asking)
    words = {question.id: verdict(answers[question.id]) for question in questions}
    found = [_judged(prompt, prompts[prompt], *pair, stage, words) for prompt, pair in pairs.items()]
    _write_answers(out / "answers.parquet", questions, answers, words)
    _check_readable(found, len(questions), answers, words)
    scores = {WIN: [Value(one.prompt_id, -1, one.win) for one in found]}
    scores[INCONSISTENT] = [Value(one.prompt_id, -1, float(not one.consistent)) for one in found]
    scores[SHOWN_FIRST] = [Value(one.prompt_id, -1, sum(one.firsts) / len(one.firsts)) for one in found if one.firsts]
    write_scores(
        out / "scores.parquet", [(name, "prompt", value) for name, values in scores.items() for value in values]
    )
    return _measured(found, scores, len(questions))


def _first_samples(folder: Path) -> dict[str, str]:
    import pyarrow.parquet as pq

    columns = ["prompt_id", "response"]
    rows = pq.read_table(folder / "samples.parquet", columns=columns, filters=[("k", "==", 0)]).to_pylist()
    return {row["prompt_id"]: row["response"] for row in rows}


def _question(stage: Judge, prompt: list[Message], first: str, second: str) -> Question:
    text = render(stage.template, prompt, first, second) if stage.template else ""
    return Question(keys.key([prompt, first, second, text]), prompt, first, second, text)


def _asked(out: Path, questions: list[Question], dataset: Dataset, stage: Judge, asking: Asking) -> dict[str, str]:
    """Every answer, those of earlier attempts included."""
    from harness.inference.quiet import quiet

    quiet(stage.threads)
    with Journal(out / "checkpoints" / "answers.jsonl") as journal:
        left = {question.id: question for question in questions if question.id not in journal.answers}
        if left:
            open_judge(stage.judge).ask(
                list(left.values()), dataset, asking, lambda question, answer: journal.note(question.id, answer)
            )
        lost = [id for id in left if id not in journal.answers]
        if lost:
            raise RuntimeError(f"judge '{stage.judge['source']}' left {len(lost)} questions without an answer")
        return {question.id: journal.answers[question.id] for question in questions}


def _judged(prompt_id: str, prompt: list[Message], a: str, b: str, stage: Judge, words: dict[str, str]) -> Judged:
    if a == b:
        return Judged(prompt_id, 0.5, True)
    forward, backward = (words[_question(stage, prompt, *sides).id] for sides in ((a, b), (b, a)))
    return combine(prompt_id, forward, backward)


def _check_readable(found: list[Judged], asked: int, answers: dict[str, str], words: dict[str, str]) -> None:
    unreadable = sum(one.unreadable for one in found)
    if unreadable > UNREADABLE_SHARE * asked:
        example = next(answers[id] for id, word in words.items() if not word)
        raise HarnessError(
            f"{unreadable} of {asked} answers hold no verdict [[A]], [[B]] or [[C]]; one of them: {example[:200]!r}; "
            "all are in answers.parquet: change the template, or give the judge more max_tokens"
        )


def _measured(found: list[Judged], scores: dict[str, list[Value]], asked: int) -> list[Measurement]:
    equal = len(found) - asked // 2
    signs: dict[str, tuple[str, str]] = {WIN: ("share", "higher"), INCONSISTENT: ("share", "lower")}
    means = [
        Measurement(name, sum(v.value for v in values) / len(values), len(values), *signs.get(name, ("share", "")))
        for name, values in scores.items()
        if values
    ]
    return [
        *means,
        Measurement("judge_inconsistent_prompts", sum(not one.consistent for one in found), 1, "prompts", "lower"),
        Measurement("judge_equal_responses", equal, 1, "prompts"),
        Measurement("judge_unreadable", sum(one.unreadable for one in found), 1, "answers", "lower"),
        Measurement("judge_questions", asked, 1, "questions"),
    ]


def _write_answers(path: Path, questions: list[Question], answers: dict[str, str], words: dict[str, str]) -> None:
    """Every question as it was read, the raw answer, and the verdict that was read in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    for question in questions:
        plain = {**asdict(question), "prompt": keys.canonical(keys.plain(question.prompt))}
        rows.append({**plain, "answer": answers[question.id], "verdict": words[question.id]})
    names = ("id", "prompt", "first", "second", "text", "answer", "verdict")
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in names])), path)
