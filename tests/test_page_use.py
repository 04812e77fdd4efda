"""The page in a reader's hands: everything is clicked; on a desk, on a phone, in the dark and on paper."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from ample import ample
from browser import Tab, needs_browser, tab

from harness.report import build

pytestmark = needs_browser

WAYS = {"desktop": (1400, False), "phone": (400, False), "dark": (1400, True)}
WHITE, DARK = "rgb(255, 255, 255)", "rgb(24, 24, 24)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ample")
    return build(*ample(root / "results"), root / "out").path


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
    assert "times what was measured" not in browser.run("document.querySelector('form output').textContent")
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
