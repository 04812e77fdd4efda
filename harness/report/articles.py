"""What the articles advise, beside this study's verdicts on the claims that the advice rests on."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.report.sheet import Sheet, Shown, make_frame

if TYPE_CHECKING:
    from harness.report.claims import Judged

FILE = Path(__file__).parent / "articles.toml"


@dataclass(frozen=True)
class Article:
    """A piece of advice.

    Attributes:
        text: what to do, in our own words.
        source: the article that says so.
        claims: ids of the claims that it rests on, of `hypotheses.toml`.
    """

    text: str
    source: str
    claims: tuple[str, ...]


@cache
def articles() -> tuple[Article, ...]:
    """All advice of the articles, in the order of the file."""
    found = tomllib.loads(FILE.read_text(encoding="utf-8"))["advice"]
    return tuple(Article(one["text"], one["source"], tuple(one["claims"])) for one in found)


def article_lines(judged: list[Judged]) -> list[str]:
    """A line for each piece of advice: what it says, who says so, and the verdicts on its claims."""
    words = _by_id(judged)
    return [
        f"{one.text} ({one.source}): {', '.join(f'{claim} {words[claim].word}' for claim in one.claims)}"
        for one in articles()
    ]


def article_values(judged: list[Judged]) -> list[dict[str, object]]:
    """The same as plain values."""
    words = _by_id(judged)
    return [
        {"advice": one.text, "source": one.source, "verdicts": {claim: words[claim].word for claim in one.claims}}
        for one in articles()
    ]


def articles_sheet(judged: list[Judged], part: str = "") -> Sheet:
    """A row for each piece of advice and each claim that it rests on."""
    words = _by_id(judged)
    found = [
        {"advice": one.text, "source": one.source, "claim": claim, "says": words[claim].claim.claim,
         "verdict": words[claim].word, "why": words[claim].why or None}
        for one in articles()
        for claim in one.claims
    ]  # fmt: skip
    meanings = {
        "advice": "what an article advises, in our own words",
        "source": "the article",
        "claim": "id of a claim that the advice rests on, as in the table of hypotheses",
        "says": "the claim in words",
        "verdict": "of this study on the claim, over all its settings",
        "why": "why the verdict is not of one comparison, or why there is none",
    }
    shown = [
        Shown("an article's advice", lambda row: row["advice"], kind="prose"),
        Shown("source", lambda row: row["source"], kind="word"),
        Shown("rests on", lambda row: f"{row['claim']}: {row['says']}", kind="prose"),
        Shown("this study's verdict", lambda row: row["verdict"], kind="word"),
        Shown("why", lambda row: row["why"] or "", kind="prose"),
    ]
    caption = "What the articles advise, beside this study's verdicts on what the advice rests on."
    frame = make_frame(found, dict.fromkeys(meanings, "string"))
    return Sheet("articles", caption, frame, meanings, shown, folded=True, part=part)


def _by_id(judged: list[Judged]) -> dict[str, Judged]:
    """The articles' claims; a recipe's own may have the same id and come after them."""
    return {one.claim.id: one for one in reversed(judged)}
