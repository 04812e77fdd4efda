"""The page in a real browser: it draws, it asks for nothing, it raises nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import needs_browser, visit, with_body_end
from synthetic import World, fail, fill, make_cells, make_plan

from harness import registry
from harness.report import build
from harness.report.page import script_json
from harness.store import Store

pytestmark = needs_browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    cells = make_cells(["dpo", "kto", "simpo"], 3, steps=(20,))
    hostile = "<script>document.title = 'taken'</script>"
    world = World({"dpo": 1.0, "kto": 0.3, "simpo": 1.0}, response=hostile, distinct=True)
    fill(root, cells, world, skip={("kto", 2)})
    fail(root, next(c for c in cells if (c.contestant, c.replicate) == ("kto", 2)).policy, "divergence")
    return build(make_plan(cells, 3), Store(root), root / "out").path


def test_the_page_draws_every_figure_without_an_error_or_a_request(page: Path, tmp_path: Path) -> None:
    seen = visit(page, tmp_path)
    charts = re.findall(r'<div[^>]*id="chart-[^"]*"[^>]*>', seen.dom)
    assert len(charts) == len(registry.names("report/figures"))
    assert all('data-drawn="yes"' in chart for chart in charts)
    assert seen.dom.count("<svg") >= 4
    assert seen.console == ""
    assert seen.requests == []
    assert "<title>synthetic</title>" in seen.dom


def test_without_scripts_the_figures_are_there_as_pictures(page: Path, tmp_path: Path) -> None:
    frame = tmp_path / "frame.html"  # a sandboxed frame runs no scripts, and shows what stands in for them
    frame.write_text(
        '<iframe sandbox="allow-same-origin"></iframe><script>'
        "const frame = document.querySelector('iframe');"
        "const drawn = () => [...frame.contentDocument.querySelectorAll('noscript svg')];"
        "const wide = (svg) => svg.getBoundingClientRect().width > 300;"
        "frame.onload = () => { document.title = drawn().filter(wide).length };"
        f"frame.srcdoc = {script_json(page.read_text())};</script>"
    )
    drawn = len(registry.names("report/figures"))
    assert f"<title>{drawn}</title>" in visit(frame, tmp_path).dom


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_a_phone_and_a_desk(page: Path, tmp_path: Path, width: int) -> None:
    check = "onload = () => document.title = document.documentElement.scrollWidth + '/' + innerWidth"
    probe = with_body_end(page, tmp_path / "probe.html", f"<script>{check}</script>")
    seen = visit(probe, tmp_path, f"--window-size={width},900")
    found = re.search(r"<title>(\d+)/(\d+)</title>", seen.dom)
    assert found is not None
    assert int(found[1]) <= int(found[2])


def test_on_a_phone_no_figure_is_wider_than_the_screen(page: Path, tmp_path: Path) -> None:
    check = (
        "const widths = () => [...document.querySelectorAll('.chart svg.marks')].map((svg) => svg.clientWidth);"
        "const drawn = () => document.querySelectorAll('.chart[data-drawn]').length;"
        "setInterval(() => document.title = [drawn(), Math.max(...widths()), innerWidth].join(' '), 100)"
    )
    probe = with_body_end(page, tmp_path / "probe.html", f"<script>{check}</script>")
    widest, screen = {}, {}
    for width in (390, 1280):
        seen = visit(probe, tmp_path, f"--window-size={width},900")
        drawn, *sizes = map(int, seen.dom.split("<title>")[1].split("</title>")[0].split())
        assert drawn == len(registry.names("report/figures"))
        widest[width], screen[width] = sizes
    assert widest[390] <= screen[390] < widest[1280]  # the browser's least window is wider than some phones


def test_the_checks_can_fail(page: Path, tmp_path: Path) -> None:
    open_page = tmp_path / "open.html"
    open_page.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text()))
    asks = '<img src="http://127.0.0.1:9/x.png"><script>nope()</script>'
    seen = visit(with_body_end(open_page, tmp_path / "broken.html", asks), tmp_path)
    assert "nope is not defined" in seen.console
    assert any("127.0.0.1:9" in url for url in seen.requests)


def test_the_policy_of_the_page_stops_a_request(page: Path, tmp_path: Path) -> None:
    asks = '<img src="http://127.0.0.1:9/x.png">'
    seen = visit(with_body_end(page, tmp_path / "asks.html", asks), tmp_path)
    assert seen.requests == []
    assert "Content Security Policy" in seen.console


@pytest.mark.parametrize("width", [390, 1280])
def test_the_words_at_its_head_are_folded_and_fit_when_they_are_open(page: Path, tmp_path: Path, width: int) -> None:
    check = (
        "onload = () => { const words = document.querySelector('header details.words'), was = words.open;"
        "words.open = true; const widest = Math.max(...[...words.querySelectorAll('dd')].map((one) => "
        "one.getBoundingClientRect().right)); document.title = was + ' ' + Math.ceil(widest) + ' ' + innerWidth }"
    )
    probe = with_body_end(page, tmp_path / "probe.html", f"<script>{check}</script>")
    seen = visit(probe, tmp_path, f"--window-size={width},900")
    was, widest, screen = seen.dom.split("<title>")[1].split("</title>")[0].split()
    assert was == "false"
    assert 100 < int(widest) <= int(screen)
