"""Rows of one split brought together: several annotators, ties, repetitions; and conversions between views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import combinations

from harness import keys
from harness.data import Row

BLAME = "This response is not satisfactory."
WORSE = "This response is not satisfactory: another one was graded {gap:g} higher."

Counts = Counter[str]


def merged(view: str, rows: Iterable[Row], counts: Counts) -> list[Row]:
    """Rows without repetitions; votes on the same responses decided by majority, ties left out.

    Args:
        view: a view, or `graded`.
        rows: of one split, in any order.
        counts: is told of `ties` and `repeated` rows.

    Returns:
        Rows with an `id` made of their content, in the order of prompt and id, which no order of a file changes.
        Rankings have `votes` too, the number of annotators who gave them.
    """
    ways = {"pairs": _pairs, "binary": _binary, "graded": _graded, "rankings": _rankings}
    named = [{"id": _name(row), **row} for row in ways.get(view, _plain)(rows, counts)]
    return sorted(named, key=lambda row: (row["prompt_id"], row["id"]))


def _name(row: Row) -> str:
    """The hash of what a row says, not of how many said so."""
    return keys.key(keys.plain({part: value for part, value in row.items() if part != "votes"}))


def _plain(rows: Iterable[Row], counts: Counts) -> Iterable[Row]:
    """The same row twice is one."""
    seen: dict[str, Row] = {}
    for row in rows:
        name = _name(row)
        counts["repeated"] += name in seen
        seen[name] = row
    return seen.values()


def _rankings(rows: Iterable[Row], counts: Counts) -> Iterable[Row]:
    """The same ranking twice is one, with two votes."""
    seen: dict[str, Row] = {}
    for row in rows:
        name = _name(row)
        counts["repeated"] += name in seen
        seen.setdefault(name, {**row, "votes": 0})["votes"] += 1
    return seen.values()


def _pairs(rows: Iterable[Row], counts: Counts) -> Iterable[Row]:
    """The same two responses to a prompt are one pair: the majority of all votes decides, a tie leaves it out."""
    votes: Counter[tuple[str, str, str]] = Counter()
    first: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        low, high = sorted((row["chosen"], row["rejected"]))
        name = (row["prompt_id"], low, high)
        votes[name] += row["votes"] * (1 if row["chosen"] == low else -1)
        counts["repeated"] += name in first
        first.setdefault(name, row)
    for name, row in first.items():
        counts["ties"] += votes[name] == 0
        if votes[name]:
            chosen, rejected = name[1:] if votes[name] > 0 else name[:0:-1]
            yield {"prompt_id": row["prompt_id"], "prompt": row["prompt"], "chosen": chosen, "rejected": rejected}


def _binary(rows: Iterable[Row], counts: Counts) -> Iterable[Row]:
    """The same response to a prompt is one row: the majority of all labels decides, a tie leaves it out."""
    votes: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        name = (row["prompt_id"], row["response"])
        votes[name] += row["votes"]
        counts["repeated"] += name in first
        first.setdefault(name, row)
    for name, row in first.items():
        counts["ties"] += votes[name] == 0
        if votes[name]:
            kept = {part: row[part] for part in ("prompt_id", "prompt", "response")}
            yield {**kept, "label": votes[name] > 0}


def _graded(rows: Iterable[Row], counts: Counts) -> Iterable[Row]:
    """All grades of a prompt are one row; a response's score is the mean of its grades, exact until it is taken."""
    prompts: dict[str, Row] = {}
    grades: dict[str, dict[str, list[Fraction]]] = {}
    for row in rows:
        prompts.setdefault(row["prompt_id"], row)
        own = grades.setdefault(row["prompt_id"], {})
        for text, score in row["grades"]:
            counts["repeated"] += text in own
            own.setdefault(text, []).append(score)
    for name, own in grades.items():
        means = {text: float(sum(scores, Fraction(0)) / len(scores)) for text, scores in sorted(own.items())}
        yield {"prompt_id": name, "prompt": prompts[name]["prompt"], "grades": means}


def rankings_from_graded(row: Row, counts: Counts) -> list[Row]:
    """Best first. Of responses with equal scores one is kept, the first by alphabet, for a ranking has no ties."""
    best: dict[float, str] = {}
    for text, score in row["grades"].items():
        counts["ties"] += score in best
        best.setdefault(score, text)
    return [{"responses": [best[score] for score in sorted(best, reverse=True)]}] if len(best) > 1 else []


def pairs_from_graded(row: Row, counts: Counts) -> list[Row]:
    """Every two responses with different scores."""
    found = []
    for (one, a), (other, b) in combinations(row["grades"].items(), 2):
        counts["ties"] += a == b
        if a != b:
            chosen, rejected = (one, other) if a > b else (other, one)
            found.append({"chosen": chosen, "rejected": rejected, "votes": 1})
    return found


def pairs_from_rankings(row: Row, counts: Counts) -> list[Row]:
    """Every two responses, with the votes of all who ranked them so."""
    return [{"chosen": a, "rejected": b, "votes": row["votes"]} for a, b in combinations(row["responses"], 2)]


def binary_from_pairs(row: Row, counts: Counts) -> list[Row]:
    """The chosen response is good, the rejected one bad."""
    return [{"response": row["chosen"], "votes": 1}, {"response": row["rejected"], "votes": -1}]


def demonstrations_from_pairs(row: Row, counts: Counts) -> list[Row]:
    """The chosen response."""
    return [{"response": row["chosen"]}]


def demonstrations_from_binary(row: Row, counts: Counts) -> list[Row]:
    """Good responses."""
    return [{"response": row["response"]}] if row["label"] else []


def judgments_from_binary(row: Row, counts: Counts) -> list[Row]:
    """A sentence that says no more than the label did; none where it is good."""
    return [{"response": row["response"], "judgment": None if row["label"] else BLAME, "template": True}]


def judgments_from_graded(row: Row, counts: Counts) -> list[Row]:
    """The best response is satisfactory; of the others the gap to it is said.

    Where no two scores differ none is known to be good or bad, so nothing is said: the responses are `incomparable`.
    """
    if len(set(row["grades"].values())) < 2:
        counts["incomparable"] += len(row["grades"])
        return []
    top = max(row["grades"].values())
    return [
        {"response": text, "judgment": WORSE.format(gap=top - score) if score < top else None, "template": True}
        for text, score in row["grades"].items()
    ]


def pairs_from_binary(rows: list[Row]) -> list[Row]:
    """Every good response of a prompt against every bad one."""
    prompts: dict[str, tuple[Row, list[str], list[str]]] = {}
    for row in rows:
        _, good, bad = prompts.setdefault(row["prompt_id"], (row, [], []))
        (good if row["label"] else bad).append(row["response"])
    return [
        {"prompt_id": name, "prompt": row["prompt"], "chosen": chosen, "rejected": rejected, "votes": 1}
        for name, (row, good, bad) in prompts.items()
        for chosen in good
        for rejected in bad
    ]


FROM: dict[tuple[str, str], Callable[[Row, Counts], list[Row]]] = {
    ("rankings", "graded"): rankings_from_graded,
    ("pairs", "graded"): pairs_from_graded,
    ("pairs", "rankings"): pairs_from_rankings,
    ("binary", "pairs"): binary_from_pairs,
    ("demonstrations", "pairs"): demonstrations_from_pairs,
    ("demonstrations", "binary"): demonstrations_from_binary,
    ("judgments", "binary"): judgments_from_binary,
    ("judgments", "graded"): judgments_from_graded,
}
"""What a row of the second view gives of the first."""

CONVERSIONS = (*FROM, ("pairs", "binary"))


def converted(view: str, source: str, rows: list[Row], counts: Counts) -> list[Row]:
    """Rows of one view made from those of another, before they are merged."""
    if (view, source) == ("pairs", "binary"):
        return pairs_from_binary(rows)
    make = FROM[view, source]
    return [
        {"prompt_id": row["prompt_id"], "prompt": row["prompt"], **part} for row in rows for part in make(row, counts)
    ]
