"""The page in a reader's hands: everything is clicked; on a desk, on a phone, in the dark and on paper."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ample import HOSTILE, ample
from browser import Tab, needs_browser, tab

from harness.claims import Hypothesis
from harness.report import build
from harness.report.claims import built_in

pytestmark = needs_browser

WAYS = {"desktop": (1400, False), "phone": (400, False), "dark": (1400, True)}
OWN = (
    Hypothesis(
        f'"><b>{HOSTILE}', f"KTO {HOSTILE}", f"'me' {HOSTILE}", metric="gold", a=("kto",), b=("start",), delta=0.1
    ),
    Hypothesis("many", "all are better", metric="gold", a=("dpo", "cpo"), b=("start",), delta=0.1),
)
WHITE, DARK = "rgb(255, 255, 255)", "rgb(24, 24, 24)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ample")
    plan, store = ample(root / "results")
    plan = replace(plan, recipe=replace(plan.recipe, hypotheses=OWN))
    return build(plan, store, root / "out").path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("browser")) as found:
        yield found


def each(browser: Tab, selector: str) -> Iterator[str]:
    """Expressions for the elements that the selector finds; there is at least one."""
    every = f"document.querySelectorAll('{selector}')"
    many = browser.run(f"{every}.length")
    assert many, selector
    return (f"{every}[{i}]" for i in range(many))


LOST = """[...document.querySelectorAll('nav a, main a[href^="#"]:not([download])')].filter((link) => {
  const place = link.getAttribute("href");
  link.click();
  return location.hash !== place || !document.getElementById(place.slice(1));
}).map((link) => link.href)"""


def test_everything_can_be_clicked(page: Path, browser: Tab) -> None:
    browser.open(page, 1400)
    assert browser.run(LOST) == []
    assert len(list(each(browser, "nav a"))) > 20
    for summary in each(browser, "main summary"):
        was = browser.run(f"{summary}.parentElement.open")
        browser.click(summary)
        assert browser.run(f"{summary}.parentElement.open") is not was
    for box in each(browser, "form input[type=checkbox]"):
        browser.click(box)
        assert browser.run(f"{box}.checked")
        browser.click(box)
    for field in each(browser, "form input[type=number]"):
        browser.click(field)
        browser.ask("Input.insertText", text="1")
        assert browser.run(f"{field}.value") == "1"
    assert "extrapolated" not in browser.run("document.querySelector('form.guide output').textContent")
    faint = "[...document.querySelectorAll('#chart-curves svg path[opacity=\"0.05\"]')].length"
    assert browser.run(faint) == 0
    for name in each(browser, "#chart-curves .role-legend-label text"):
        browser.click(name)
        assert browser.run(faint) > 0
    for name in each(browser, ".chart .role-legend-symbol path, .chart .role-legend-label text"):
        browser.click(name)
    for item in each(browser, ".vega-actions a"):
        browser.run(f"{item}.closest('details').open = true")
        browser.click(item)
    assert browser.run("document.querySelectorAll('button').length") == 0  # there is none to be forgotten here
    assert browser.errors == browser.requests == []


@pytest.mark.parametrize("way", WAYS)
def test_how_it_looks(page: Path, browser: Tab, tmp_path: Path, way: str) -> None:
    """Its pictures are kept in the folder that HARNESS_SCREENSHOTS names."""
    width, dark = WAYS[way]
    browser.open(page, width, dark)
    assert browser.run("getComputedStyle(document.body).backgroundColor") == (DARK if dark else WHITE)
    kept = Path(os.environ.get("HARNESS_SCREENSHOTS") or tmp_path) / f"{way}.png"
    browser.picture(kept)
    taken = kept.read_bytes()
    assert taken[:8] == b"\x89PNG\r\n\x1a\n"
    wide, high = struct.unpack(">II", taken[16:24])
    assert (wide, high) >= (width, 3000)
    assert len(taken) > 200_000  # an empty page of that size has 20 kB
    assert browser.errors == []


BEYOND = """[...document.querySelectorAll("body *")].filter((one) => {
  const limit = one.closest(".chart svg") ?? document.documentElement;
  const inTable = one.closest(".wide > table") || one.closest(".vega-embed > details, .watermark, noscript");
  return !inTable && one.getBoundingClientRect().right > limit.getBoundingClientRect().right + 2;
}).map((one) => `${one.closest("[id]")?.id}: ${one.tagName} ${one.textContent.slice(0, 60)}`)"""


def test_on_a_phone_nothing_is_cut_but_tables_that_scroll(page: Path, browser: Tab) -> None:
    browser.open(page, 400)
    assert browser.run("innerWidth") == browser.run("document.documentElement.scrollWidth") == 400
    assert browser.run(BEYOND) == []
    browser.run("document.querySelector('figure').style.width = '500px'")
    assert browser.run(BEYOND) != []  # the check can fail


def test_on_paper_what_is_folded_stays_folded(page: Path, browser: Tab, tmp_path: Path) -> None:
    def pages() -> int:
        browser.paper(tmp_path / "page.pdf")
        return len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes()))

    browser.open(page, 1400)
    folded = pages()
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert 5 < folded < pages() - 10


LINES = "[...document.querySelectorAll('#hypotheses .entry')]"
"""The claims of the page, a line each."""
SEEN = f"{LINES}.filter((one) => one.checkVisibility()).map((one) => one.querySelector('summary span').textContent)"


def choose(browser: Tab, name: str, value: str) -> str:
    """Set a filter of the hypotheses; what the form then says."""
    field = f"document.querySelector('#hypotheses select[name={name}]')"
    browser.run(f"{field}.value = '{value}'; {field}.dispatchEvent(new Event('input', {{ bubbles: true }}))")
    assert browser.run(f"{field}.value") == value
    return str(browser.run("document.querySelector('#hypotheses output').textContent"))


def test_claims_are_filtered_by_verdict_article_and_tier(page: Path, browser: Tab) -> None:
    browser.open(page, 1400)
    many = len(built_in()) + len(OWN)
    lines = browser.run(
        f"{LINES}.map((one) => ({{ ...one.dataset, id: one.querySelector('summary span').textContent }}))"
    )
    assert [one["id"] for one in lines if one["tier"] == "own"] == [one.id for one in OWN]
    ran = [one["id"] for one in lines if one["verdict"] != "NOT RUN"]
    assert browser.run(SEEN) == ran == [one["id"] for one in lines[: len(ran)]], "what was not run comes last"
    assert choose(browser, "verdict", "") == f"{len(ran)} of {many} claims shown, {many - len(ran)} more folded below"
    for name, value in (("article", "A"), ("article", "own"), ("tier", "T1"), ("verdict", "UNDECIDED")):
        told, own = choose(browser, name, value), [one for one in lines if one[name] == value]
        shown = [one["id"] for one in own if one["verdict"] != "NOT RUN"]
        assert browser.run(SEEN) == shown
        folded = f", {len(own) - len(shown)} more folded below" if len(own) > len(shown) else ""
        assert told == f"{len(shown)} of {many} claims shown{folded}"
        choose(browser, name, "")
    choose(browser, "verdict", "NOT RUN")  # they are opened, for there is nothing else to see
    assert browser.run(SEEN) == [one["id"] for one in lines[len(ran) :]]
    both = [one["id"] for one in lines if (one["verdict"], one["article"]) == ("NOT RUN", "B")]
    assert choose(browser, "article", "B") == f"{len(both)} of {many} claims shown"
    assert browser.run(SEEN) == both
    choose(browser, "article", "")
    assert choose(browser, "verdict", "") == f"{len(ran)} of {many} claims shown, {many - len(ran)} more folded below"
    browser.click("document.querySelector('#hypotheses .rest > summary')")
    assert browser.run("document.querySelector('#hypotheses output').textContent") == f"{many} of {many} claims shown"
    assert browser.errors == []


def test_a_claim_opens_by_the_keyboard_to_all_that_is_known_of_it(page: Path, browser: Tab) -> None:
    browser.open(page, 1400)
    line = f"{LINES}.find((one) => one.textContent.includes('all are better'))"
    browser.run(f"{line}.querySelector('summary').focus()")
    for event in ("rawKeyDown", "char", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=event, key="Enter", text="\r", windowsVirtualKeyCode=13)
    assert browser.run(f"{line}.open")
    assert browser.run(f"{line}.querySelectorAll('tbody tr').length") == 7  # six of dpo, and cpo
    told = browser.run(f"{line}.innerText")
    parts = (
        "this recipe",
        "each of dpo and cpo minus start",
        "gold (sd of the start)",
        "the claim says above 0",
        "0.1",
    )
    for part in (*parts, "of 7 comparisons", "p, Holm", "runs (seeds)", "prompts", "own: of this recipe"):
        assert part in told, part
    failed = f"{LINES}.find((one) => one.textContent.includes('KTO <script>'))"
    browser.click(f"{failed}.querySelector('summary')")
    assert "1 failed run in with the start's scores" in browser.run(f"{failed}.innerText")
    assert browser.run(f"{failed}.querySelectorAll('b, script').length") == 0
    assert browser.run("document.title") == "synthetic"


def test_claims_open_without_scripts(page: Path, browser: Tab) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.ask("Page.navigate", url=page.as_uri())
        while browser.run("document.readyState") != "complete":
            pass
        assert browser.run("getComputedStyle(document.querySelector('form.filter')).display") == "none"
        first, last = f"{LINES}[0]", f"{LINES}.at(-1)"
        assert [browser.run(f"{one}.checkVisibility()") for one in (first, last)] == [True, False]
        for shut in (first, "document.querySelector('#hypotheses details.rest')"):
            browser.click(f"{shut}.querySelector('summary')")
            assert browser.run(f"{shut}.open")
        assert browser.run(f"{first}.querySelector('dl').checkVisibility()")
        assert browser.run(f"{last}.checkVisibility()")
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("width", [390, 700, 1000])
def test_an_open_claim_is_not_cut(page: Path, browser: Tab, width: int) -> None:
    browser.open(page, width)
    browser.run("document.querySelectorAll('#hypotheses details').forEach((one) => { one.open = true })")
    parts = "*" if width < 640 else "*:not(.wide *)"  # on a desk a table of comparisons may scroll
    inside = f"{LINES}.flatMap((one) => [...one.querySelectorAll('{parts}')])"
    assert browser.run(f"{inside}.filter((one) => one.getBoundingClientRect().right > {width}).length") == 0
    assert browser.run(f"{LINES}.filter((one) => one.querySelector('td')).length") > 3
    assert browser.run("document.documentElement.scrollWidth") == width


def test_on_paper_a_claim_is_a_line_and_opens_where_it_was_opened(page: Path, browser: Tab) -> None:
    browser.open(page, 1400)
    browser.run(f"{LINES}[0].open = true")
    browser.ask("Emulation.setEmulatedMedia", media="print")
    try:
        shown = f"{LINES}.slice(0, 2).map((one) => one.querySelector('dl').checkVisibility())"
        assert browser.run(shown) == [True, False]
        assert browser.run("document.querySelector('form.filter').checkVisibility()") is False
        assert len(browser.run(SEEN)) > 10
    finally:
        browser.ask("Emulation.setEmulatedMedia", media="")
