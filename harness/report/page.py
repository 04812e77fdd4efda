"""The page: sections of sentences, figures, tables and samples; rendered as HTML and as Markdown."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report import painter

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.report.painter import Asked
    from harness.report.sheet import Sheet

TEMPLATES = Path(__file__).parent / "templates"
WORDS = "Words used here"


@dataclass(frozen=True)
class Picture:
    """What a figure came to: its Vega-Lite `spec` as `script_json` and static form, or the `reason` for none."""

    spec: str = ""
    svg: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Drawn:
    """A figure on the page, which is among the pictures that were `asked` for."""

    id: str
    question: str
    how_to_read: str
    asked: Asked[dict[str, Picture]]

    @property
    def picture(self) -> Picture:
        """What it came to, once it has been drawn."""
        return self.asked.get()[self.id]


@dataclass(frozen=True)
class Side:
    """One contestant's response to a prompt, and a note on it."""

    contestant: str
    response: str
    note: str = ""


@dataclass(frozen=True)
class Prompt:
    """A prompt and the responses to it, side by side."""

    prompt_id: str
    prompt: str
    sides: list[Side]


@dataclass(frozen=True)
class Samples:
    """Prompts that were picked alike: how, and whether they are closed until somebody opens them."""

    title: str
    prompts: list[Prompt]
    folded: bool = False


@dataclass(frozen=True)
class Code:
    """Text to be read as it stands: a recipe, a command."""

    caption: str
    text: str
    open: bool = False


@dataclass(frozen=True)
class Linked:
    """A sentence, and the places on the page that it rests on: a name and an id each."""

    text: str
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Guide:
    """Controls of the decision guide: an id, and the values that its script works on."""

    id: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the report: one sentence of conclusion, then what it rests on; `grade` is the answer's letter."""

    id: str
    title: str
    sentence: str
    grade: str = ""
    points: list[str] = field(default_factory=list)
    linked: list[Linked] = field(default_factory=list)
    guide: Guide | None = None
    paragraphs: list[str] = field(default_factory=list)
    figures: list[Drawn] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)
    codes: list[Code] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """The whole report.

    `made` says of what and by what it was made; `banners` stand at its head; `watermark` lies across it; `words` are
    what a newcomer may not know, with their meanings.
    """

    title: str
    question: str
    state: str
    sections: list[Section]
    banners: list[str] = field(default_factory=list)
    watermark: str = ""
    made: str = ""
    words: dict[str, str] = field(default_factory=dict)

    @property
    def has_figures(self) -> bool:
        """Whether the runtime of the figures is needed."""
        return any(figure.picture.spec for section in self.sections for figure in section.figures)

    @property
    def has_guides(self) -> bool:
        """Whether the script of the decision guide is needed."""
        return any(section.guide for section in self.sections)

    @property
    def has_listings(self) -> bool:
        """Whether the script of the filters is needed."""
        return any(sheet.listing for section in self.sections for sheet in section.sheets)


def pictures(charts: Callable[..., dict[str, Any]], *arguments: Any) -> Asked[dict[str, Picture]]:
    """Have figures drawn by the second process, while this one goes on.

    Args:
        charts: a function of a module that gives figures by id: a chart, or a text that says why there is none.
        arguments: its own.
    """
    return painter.ask(_drawn, charts, arguments)


def _drawn(charts: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> dict[str, Picture]:
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):  # not checked against the schema, which takes longer than all else: the tests check it
        return {id: picture(chart) for id, chart in charts(*arguments).items()}


def picture(chart: Any) -> Picture:
    """A chart, or a text that says why there is none, as it stands on the page."""
    if isinstance(chart, str):
        return Picture(reason=chart)
    spec: dict[str, Any] = chart.to_dict(validate=False)
    static = {**spec, "config": {**_CONFIG, "font": _STATIC_FONT}}
    return Picture(script_json({**spec, "config": _CONFIG}), painter.svg(script_json(static)))


_STATIC_FONT = "sans-serif"
"""The converter has it built in, as wide as Arial; it measures a text in any other twice as long."""


_CONFIG: dict[str, Any] = {
    "font": "system-ui, DejaVu Sans, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 260,
        "labelFlush": False,
        "labelSeparation": 4,
        "gridColor": "#e4e4e4",
    },
    "legend": {"labelFontSize": 12, "labelLimit": 260},
    "title": {"fontSize": 12, "fontWeight": "normal", "anchor": "start"},
}


def html(page: Page) -> str:
    """The page as one HTML file that asks for nothing from any network; its policy forbids it to."""
    import jinja2
    from markupsafe import Markup

    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    # what these two mark as safe is made here and holds no text of a model: SVG escapes its own, JSON is escaped below
    environment.filters["drawn"] = Markup
    environment.filters["script_json"] = lambda value: Markup(script_json(value))
    css = Markup((TEMPLATES / "page.css").read_text())
    runtime = painter.runtime() if page.has_figures else ""
    guide = (TEMPLATES / "guide.js").read_text() if page.has_guides else ""
    sift = (TEMPLATES / "filter.js").read_text() if page.has_listings else ""
    scripts = {"runtime": runtime, "guide": guide, "filter": sift, "figures": (TEMPLATES / "figures.js").read_text()}
    return environment.get_template("page.html").render(page=page, css=css, words=WORDS, **scripts)


def script_json(value: object) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def markdown(page: Page) -> str:
    """The page as Markdown: the same sentences and numbers; figures are in the HTML."""
    lines = [
        f"# {_inline(page.title)}",
        "",
        *([_inline(page.question), ""] if page.question else []),
        _inline(page.state),
        "",
        *([_inline(page.made), ""] if page.made else []),
    ]
    for text in (page.watermark, *page.banners):
        lines += [f"> **{_inline(text)}**", ""] if text else []
    lines += [f"{WORDS}:", ""] if page.words else []
    lines += [f"- **{word}**: {_inline(meaning)}" for word, meaning in page.words.items()] + [""] * bool(page.words)
    for section in page.sections:
        lines += [f"## {_inline(section.title)}", "", f"**{_inline(section.sentence)}**", ""]
        lines += [f"**Grade {section.grade}**", ""] if section.grade else []
        lines += [f"- {_inline(text)}" for text in section.points] + [""] * bool(section.points)
        lines += [f"- {_inline(one.text)}" for one in section.linked] + [""] * bool(section.linked)
        for text in section.paragraphs:
            lines += [_inline(text), ""]
        for figure in section.figures:
            lines += [f"*{figure.question}* {figure.picture.reason or '(figure in report.html)'}", ""]
        for sheet in section.sheets:
            lines += [*_table(sheet), ""] if len(sheet.frame) else []
        for group in section.samples:
            lines += [_inline(group.title), ""]
            for prompt in group.prompts:
                lines += _samples(prompt)
        for code in section.codes:
            lines += [code.caption, "", *_fenced(code.text), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(sheet: Sheet) -> list[str]:
    heads = [_inline(column.title) for column in sheet.columns]
    marks = ["---:" if column.kind == "number" else "---" for column in sheet.columns]
    body = []
    for group, row in zip(sheet.groups(), sheet.texts, strict=True):
        body += [[f"**{_inline(group)}**", *[""] * (len(heads) - 1)]] if group else []
        body.append([_inline(text) for text in row])
    return [_inline(sheet.caption), "", *("| " + " | ".join(row) + " |" for row in [heads, marks, *body])]


def _samples(prompt: Prompt) -> list[str]:
    lines = [f"### Prompt {_inline(prompt.prompt_id)}", ""]
    lines += [*_fenced(prompt.prompt), ""] if prompt.prompt else []
    for side in prompt.sides:
        lines += [f"{_inline(side.contestant)} {_inline(side.note)}".rstrip() + ":", "", *_fenced(side.response), ""]
    return lines


def _fenced(text: str) -> list[str]:
    """A code block whose fence is longer than any run of backticks in the text."""
    runs = "".join(mark if mark == "`" else " " for mark in text).split()
    fence = "`" * max([3, *(len(run) + 1 for run in runs)])
    return [fence, text, fence]


def _inline(text: str) -> str:
    """Text that stands in one line of Markdown and is not read as markup or HTML."""
    text = " ".join(text.split())
    for mark, safe in (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`"), ("*", "\\*")):
        text = text.replace(mark, safe)
    return text
