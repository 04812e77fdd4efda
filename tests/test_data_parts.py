"""Large files are walked through by ranges of prompts that lie on disk: the same rows, and little of them held."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_data_files import ALL, lines, opened

from harness import near
from harness.commands.data import show_data
from harness.data import EmptySplit, _prepared, _tables, files
from harness.errors import HarnessError
from harness.stages import training_rows

SHARED = 'same_prompts = true\non_bad = "drop"\nsplits = {train = 0.4, test = 0.3}\n'
RECIPES = {
    "views": f'pairs = "p.jsonl"\nbinary = "from pairs"\ndemonstrations = "d.jsonl"\nprompts = "q.jsonl"\n{SHARED}',
    "graded": 'graded = "g.jsonl"\n'
    + "".join(f'{view} = "from graded"\n' for view in ("pairs", "rankings", "judgments"))
    + SHARED,
    "rankings": f'rankings = "r.jsonl"\npairs = "from rankings"\n{SHARED}',
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and small buffers."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_prepared, "BUFFER", 1 << 12)
    return tmp_path / "cache" / "files"


def on_disk(monkeypatch: pytest.MonkeyPatch, yes: bool) -> None:
    """Whether files of any size are heavy; nothing that was found before is remembered."""
    monkeypatch.setattr(files, "HEAVY", -1 if yes else 1 << 40)
    for kept in (_tables._groups, _tables._held, _tables._on_disk, _tables._whole, _tables._tally):
        kept.cache_clear()


def write(folder: Path) -> None:
    """Files with repetitions, ties, near duplicates, bad rows, and texts that lines could be broken in."""
    rng = random.Random(3)
    asked = [f"Why is {a} like {b}, and how would you say that to them?" for a in "abcdefgh" for b in "ijklmnop"]
    asked += [f"{one} please" for one in asked[:9]] + ["\u2028 \u0085\nWhat\u2029?", "\U0001f600 é"]
    word = lambda: rng.choice(["Yes.", "No.", "Well\u2028 then", "\U0001f600", "a\nb", "Perhaps"])  # noqa: E731
    pairs = [{"prompt": one, "chosen": word(), "rejected": word(), "id": 1} for one in asked for _ in range(4)]
    lines(folder / "p.jsonl", pairs)
    lines(folder / "d.jsonl", [{"prompt": one, "response": word()} for one in asked[::2] * 2] + [{"prompt": "x"}])
    lines(folder / "q.jsonl", [{"prompt": one} for one in (*asked[::3], "Alone?")])
    score = lambda: rng.choice([0.1, 0.2, 0.3, [1, 2, 2], 1 / 3])  # noqa: E731
    lines(
        folder / "g.jsonl", [{"prompt": one, "response": word(), "score": score()} for one in asked for _ in range(6)]
    )
    ranked = [{"prompt": one, "responses": rng.sample(["a", "b", "c"], 3)} for one in asked for _ in range(3)]
    lines(folder / "r.jsonl", ranked)


def everything(folder: Path, text: str) -> dict[str, Any]:
    """All that a dataset says about its rows."""
    data: Any = opened(folder, f'source = "files"\n{text}')
    found: dict[str, Any] = {"groups": dict(data.groups()), "problems": data.problems()}
    for view in sorted(data.offers()):
        for split in ("train", "test", "ood"):
            try:
                found[f"{view} {split}"] = data.rows(view, split), training_rows(data, view, split, 3)
            except (EmptySplit, HarnessError) as error:
                found[f"{view} {split}"] = str(error)
            found[f"{view} {split} changes"] = dict(data.changes(view, split))
    return found


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_rows_on_disk_are_the_rows_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, cache: Path
) -> None:
    write(tmp_path)
    found, shown = [], []
    for yes in (False, True):
        on_disk(monkeypatch, yes)
        found.append(everything(tmp_path, text))
        show_data(tmp_path / "r.toml", [], as_json=True)
        show_data(tmp_path / "r.toml", [], as_json=False)
        shown.append(capsys.readouterr().out)
        assert bool(list(cache.glob("rows-*"))) == yes
    assert found[0] == found[1]
    assert len(found[0]["pairs train"][0]) > 20
    assert shown[0] == shown[1]
    assert not list(cache.glob("draft-*"))


def test_a_file_is_prepared_once_whatever_is_done_with_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    write(tmp_path)
    on_disk(monkeypatch, True)
    for more in ("", "same_prompts = false\n", "splits = {test = 1.0}\n", 'binary = "from pairs"\n'):
        opened(tmp_path, f'source = "files"\npairs = "p.jsonl"\non_bad = "drop"\n{more}').changes("pairs", "test")
    assert len(list(cache.glob("rows-*"))) == 1
    columns = 'columns = {chosen = "rejected", rejected = "chosen"}\n'
    opened(tmp_path, f'source = "files"\npairs = "p.jsonl"\non_bad = "drop"\n{columns}').changes("pairs", "test")
    assert len(list(cache.glob("rows-*"))) == 2


def test_what_is_half_written_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    write(tmp_path)
    on_disk(monkeypatch, True)
    data = opened(tmp_path, f'source = "files"\npairs = "p.jsonl"\non_bad = "drop"\n{ALL}')
    with monkeypatch.context() as patch:
        patch.setattr(_prepared, "_append", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(HarnessError, match=r"No space left on device.*`harness data` does it"):
            data.rows("pairs", "train")
    assert not list(cache.glob("*rows-*"))
    assert data.rows("pairs", "train")
    some = next(file for file in next(cache.glob("rows-*")).iterdir() if file.name != "about.json")
    for file, damage in ((some, some.read_bytes()[:-9]), (some, b""), (some.with_name("about.json"), b"{")):
        file.write_bytes(damage)
        _tables._on_disk.cache_clear()
        with pytest.raises(HarnessError, match=r"rows-\w+ in \$HARNESS_CACHE/files cannot be read .* remove it"):
            data.rows("pairs", "train")


def test_what_another_process_prepared_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    write(tmp_path)
    on_disk(monkeypatch, True)
    data = opened(tmp_path, f'source = "files"\npairs = "p.jsonl"\non_bad = "drop"\n{ALL}')
    plain, old = _prepared._write, cache / "draft-rows-old"

    def slowly(folder: Path, found: Any) -> None:
        plain(folder, found)
        monkeypatch.setattr(_prepared, "_write", plain)
        _tables._on_disk.cache_clear()
        data.rows("pairs", "train")

    old.mkdir(parents=True)
    monkeypatch.setattr(_prepared, "ABANDONED_SECONDS", -1)
    monkeypatch.setattr(_prepared, "_write", slowly)
    assert data.rows("pairs", "train")
    assert [one.name[:5] for one in cache.glob("*rows-*")] == ["rows-"]


def prompts(count: int, every: int = 10) -> Iterator[str]:
    """Prompts of sixty words, some of which resemble the one before."""
    rng = random.Random(5)
    for place in range(count):
        own = " ".join(f"w{rng.randrange(9999)}" for _ in range(60))
        yield own
        if place % every == 0:
            yield f"{own} please"


def test_near_duplicates_are_those_that_the_index_finds() -> None:
    texts = near.Texts({text: text for text in prompts(300)})
    linked = {text for text in texts.texts if set(texts.near(text, texts)) - {text}}
    found = near.groups(lambda: prompts(300))
    assert set(found) == linked
    assert len(found) == 60
    assert all(one.removesuffix(" please") == first for one, first in found.items())


def test_of_most_prompts_a_hash_is_held_while_near_duplicates_are_sought() -> None:
    """Their shingles, a few kB each, are not."""
    sizes, peaks = (100, 300, 1500), []
    for count in sizes:
        tracemalloc.start()
        near.groups(lambda: prompts(count, 100))  # noqa: B023
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[2] - peaks[1]) / (sizes[2] - sizes[1]) < 600


TEXT, HELD = 4000, 800
"""Characters of each row's texts, and bytes that may be held for each row more that a file has."""


@pytest.mark.parametrize("what", ["harness data", "a stage"])
def test_memory_hardly_grows_with_the_file(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    on_disk(monkeypatch, True)
    model = f'[[model]]\nsource = "{shelf / tiny.START / "policy"}"\n'
    table = f'source = "files"\npairs = "p.jsonl"\nbinary = "from pairs"\nsplits = {{train = 0.8, test = 0.2}}\n{model}'
    filler = " ".join(tiny.WORDS[:8] * 200)[: TEXT // 2]
    sizes, peaks = (50, 200, 800, 801), []  # the first is for what is only loaded once
    for rows in sizes:
        pairs = [{"prompt": f"{i}", "chosen": f"{i} {filler}", "rejected": f"no {i} {filler}"} for i in range(rows)]
        lines(tmp_path / "p.jsonl", pairs)
        data = opened(tmp_path, table)
        tracemalloc.start()
        if what == "a stage":
            assert len(training_rows(data, "pairs", "train", 10)) == 10
            assert data.changes("binary", "train")["converted"] > rows
        else:
            show_data(tmp_path / "r.toml", [], as_json=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    large = min(peaks[2:])  # in one of them Python's own table of names may grow, by megabytes in a long session
    assert (large - peaks[1]) / (sizes[2] - sizes[1]) < HELD
