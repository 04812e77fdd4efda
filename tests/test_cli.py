"""The command line as a person uses it: exit codes, messages, JSON, and a whole small comparison."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from harness.cli import app, main

ROOT = Path(__file__).parents[1]
TINY = """
name = "tiny"
question = "Does the whole way work?"
replicates = 2

[[model]]
source = "lab"
hidden = 16
layers = 1
heads = 2
texts = 64
steps = 4
batch = 16

[[dataset]]
source = "lab"
train = 32
proxy = 16
selection = 16
gold = 16
pretrain = 64
evaluation = 8
heldout = 16

[budget]
prompts = 32
steps = 2
batch = 8
max_response_tokens = 96

[evaluation]
prompts = 8
samples = 2
pairs = 16
best_of = 4

[reward.proxy]
prompts = 16
[reward.selection]
prompts = 16
[reward.gold]
prompts = 16

[[algorithm]]
name = "dpo"

[[algorithm]]
name = "kto"
"""


def harness(*words: str, cwd: Path, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "harness.cli", *words]
    return subprocess.run(command, check=False, cwd=cwd, env=own, capture_output=True, text=True, timeout=timeout)


def inside(*words: str, cwd: Path) -> Result:
    """The same in this process, which has imported everything."""
    with contextlib.chdir(cwd):
        return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(TINY)
    return folder, harness("run", "tiny.toml", "--set", "launch.workers=2", cwd=folder)


@pytest.fixture(scope="module")
def one_inline(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    """Results of the same comparison's first replicate, made anew in the driver's own process."""
    folder, _ = finished
    text = TINY.replace('name = "tiny"', 'name = "one"').replace("cates = 2", "cates = 1")
    (folder / "one.toml").write_text(f"{text}\n[launch]\nworkers = 1\n")
    done = inside("run", "one.toml", "--set", "launch.executor=inline", "--results", "inline", cwd=folder)
    assert done.exit_code == 0, done.output
    return folder / "inline"


def test_run_goes_the_whole_way(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert "Report: reports/tiny/report.html" in done.stdout
    assert (folder / "reports" / "tiny" / "report.html").stat().st_size > 100_000
    assert "stages ran" in done.stderr


def test_the_plan_counts_what_ran(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    plan = json.loads(harness("plan", "tiny.toml", "--json", cwd=folder).stdout)
    assert plan["total"] == plan["done"] == len(list((folder / "results").glob("*/record.json")))


def test_status_reads_the_disk(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    found = json.loads(harness("status", "tiny.toml", "--json", cwd=folder).stdout)
    assert found["done"] == found["total"]


def test_inline_and_local_give_the_same_bits(
    finished: tuple[Path, subprocess.CompletedProcess[str]], one_inline: Path
) -> None:
    folder, _ = finished
    shared = [
        record for record in one_inline.glob("*/record.json") if (folder / "results" / record.parent.name).exists()
    ]
    assert {"train", "reference", "sample", "grade", "audit"} == {one.parent.name.split("-")[0] for one in shared}
    for record in shared:
        one, other = (json.loads((root / record.parent.name / "record.json").read_text())
                      for root in (folder / "results", one_inline))  # fmt: skip
        assert one["measurements"] == other["measurements"]
        weights = {file: seen["sha256"] for file, seen in one["files"].items() if file.endswith(".safetensors")}
        assert weights == {
            file: seen["sha256"] for file, seen in other["files"].items() if file.endswith(".safetensors")
        }


def test_records_hold_what_made_them_and_no_private_path(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    for file in (folder / "results").glob("*/record.json"):
        text = file.read_text()
        assert str(folder) not in text
        assert str(Path.home()) not in text
        made_by = json.loads(text)["made_by"]
        assert made_by["packages"]["torch"]
        assert made_by["python"]


def test_a_stage_runs_by_hand(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    stage = next((folder / "results").glob("sample-*"))
    before = (stage / "samples.parquet").read_bytes()
    (stage / "record.json").unlink()
    done = inside("exec", f"results/{stage.name}", cwd=folder)
    assert (done.exit_code, done.stdout.split()[1]) == (0, "done"), done.output
    assert (stage / "samples.parquet").read_bytes() == before


def test_a_published_comparison_is_reproduced_to_the_last_digit(one_inline: Path) -> None:
    """What the driver's own process made, a worker makes again."""
    folder = one_inline.parent
    assert harness("publish", "one.toml", "--results", "inline", cwd=folder).returncode == 0
    home = one_inline / "published" / "one"
    assert not list(home.rglob("*.safetensors")), "no weights"
    again = inside("reproduce", "one", "--results", "inline", "--into", "again", cwd=folder)
    assert again.exit_code == 0, again.output
    assert " 0 differ" in again.stdout
    elsewhere = folder / "elsewhere" / "published"
    elsewhere.mkdir(parents=True)
    home.rename(elsewhere / "one")
    clone = json.loads(harness("plan", "one.toml", "--results", "elsewhere", "--json", cwd=folder).stdout)
    assert clone["done"] == clone["total"], "for whoever has it, it counts as done"
    assert clone["made_again"] == []
    more = harness("plan", "one.toml", "--results", "elsewhere", "--set", "replicates=2", cwd=folder).stdout
    assert re.search(r"\d+ done stage\(s\) that the rest reads have a record here and no weights: made again", more)
    assert not list((folder / "elsewhere").glob("train-*"))

    some = folder / "some"
    shutil.copytree(elsewhere / "one", some, ignore=shutil.ignore_patterns("grade-*", "recipe.toml"))
    refused = inside("publish", "one.toml", "--results", "some", cwd=folder)
    assert "publish what there is with --unfinished" in str(refused.exception)
    told = inside("publish", "one.toml", "--results", "some", "--unfinished", cwd=folder)
    assert told.exit_code == 0, told.output
    kept = {path.name for path in (some / "published" / "one").iterdir()}
    assert kept == {path.name for path in some.iterdir()} - {"published"} | {"recipe.toml"}


def test_clean_shows_first_and_the_report_still_builds(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    shown = inside("clean", "tiny.toml", cwd=folder)
    assert "nothing was removed" in shown.stdout
    policies = list((folder / "results").glob("train-*/policy"))
    assert policies
    assert "freed" in inside("clean", "tiny.toml", "--yes", cwd=folder).stdout
    assert not list((folder / "results").glob("train-*/policy"))
    assert inside("report", "tiny.toml", cwd=folder).exit_code == 0


def test_the_second_run_has_nothing_to_do_though_weights_are_gone(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    assert not list((folder / "results").glob("train-*/policy")), "they were cleaned away"
    again = inside("run", "tiny.toml", "--json", cwd=folder)
    assert again.exit_code == 0, again.output
    found = json.loads(again.stdout)
    assert found["ran"] == []
    assert found["reused"] == json.loads(harness("plan", "tiny.toml", "--json", cwd=folder).stdout)["total"]


def test_a_mistake_prints_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('name = "x"\n[[algorithm]]\nname = "dpo"\nbta = 1\n')
    done = harness("run", "r.toml", cwd=tmp_path)
    assert done.returncode == 2
    knobs = "learning_rate, beta, variant, label_smoothing, normalise, divergence, alpha, name, label, start, grid"
    assert done.stderr == f"r.toml:4: dpo has no knob 'bta'; did you mean 'beta'? (knobs: {knobs})\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "r.toml"], "nothing is written"


def test_help_teaches_and_version_is_told(tmp_path: Path) -> None:
    for command in ("run", "plan", "status", "exec", "report", "list", "reproduce", "clean", "doctor"):
        done = harness(command, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert "Example: harness" in done.stdout
    assert harness("--version", cwd=tmp_path).stdout.startswith("harness ")


def test_list_and_doctor_speak_json(tmp_path: Path) -> None:
    found = {item["name"]: item for item in json.loads(harness("list", "algorithms", "--json", cwd=tmp_path).stdout)}
    beta = next(knob for knob in found["dpo"]["knobs"] if knob["name"] == "beta")
    assert beta["default"] == 0.1
    assert beta["search"].startswith("0.01 to 1 (log) where normalise = sum")
    assert "2305.18290" in found["dpo"]["paper"]
    assert json.loads(harness("doctor", "--json", cwd=tmp_path).stdout)["cores"] >= 1
    models = harness("list", "models", cwd=tmp_path).stdout
    assert {line.split(":")[0] for line in models.split("\n") if line[:1].isalpha()} == {"encoder", "lab", "pretrained"}
    assert (
        'source = "Anthropic/hh-rlhf": pairs of split train; MIT; offensive content'
        in harness("list", "data", cwd=tmp_path).stdout
    )
    assert harness("list", "things", cwd=tmp_path).returncode == 2


def test_exec_of_no_stage_is_refused(tmp_path: Path) -> None:
    done = harness("exec", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no such folder" in done.stderr


def test_what_was_never_published_is_refused_with_what_was(tmp_path: Path) -> None:
    told = inside("reproduce", "compare_al", cwd=ROOT).exception
    known = sorted(file.parent.name for file in (ROOT / "results" / "published").glob("*/recipe.toml"))
    assert str(told) == (
        "results/published/compare_al: there is no published comparison of that name; did you mean 'compare_all'? "
        f"(known: {', '.join(known)})"
    )
    example = re.search(r"Example: harness reproduce (\w+)", inside("reproduce", "--help", cwd=ROOT).stdout)
    assert example
    assert example[1] in known
    assert "(there is none in results/published)" in str(inside("reproduce", "x", cwd=tmp_path).exception)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("place", [("results/votes",), ()])
def test_a_disk_that_takes_nothing_is_told_in_one_line(
    number: int, place: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def writes() -> None:
        raise OSError(number, os.strerror(number), *place)

    monkeypatch.setattr("harness.cli.app", writes)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(": ".join([*place, os.strerror(number)]))


def test_another_error_of_the_system_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads() -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "x")

    monkeypatch.setattr("harness.cli.app", reads)
    with pytest.raises(FileNotFoundError):
        main()


def test_scores_that_were_cut_short_are_made_again(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    grade, audit = (next((folder / "results").glob(f"{kind}-*")) for kind in ("grade", "audit"))
    right = [(one / "scores.parquet").read_bytes() for one in (grade, audit)]
    (grade / "scores.parquet").write_bytes(right[0][:100])
    (audit / "scores.parquet").write_bytes(right[1][:-1] + b"x")
    assert json.loads(inside("status", "tiny.toml", "--json", cwd=folder).stdout)["waiting"] == 1
    done = inside("run", "tiny.toml", "--set", "launch.executor=inline", cwd=folder)
    assert done.exit_code == 0, done.output
    assert [(one / "scores.parquet").read_bytes() for one in (grade, audit)] == right
