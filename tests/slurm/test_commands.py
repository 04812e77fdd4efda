"""What a person asks of a comparison on a real Slurm: run --detach, status, watch, logs, cancel; hostile names."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bricks import outputs, until
from click.testing import Result
from cluster import Cluster
from test_cli import TINY, inside

from harness.store import Store

pytestmark = pytest.mark.timeout(240)
ONE = TINY.replace("replicates = 2", "replicates = 1")
HELD = """
[launch]
executor = "slurm"
timeout_min = 5
memory_gb = 0.5
sbatch = ["--hold"]
"""
ENDLESS = ONE.replace("steps = 4\n", "steps = 100_000\n") + HELD
ENDLESS += "\n[launch.algorithm.pretrain]\nsbatch = []\nmemory_gb = 3.8\n"


def asked(place: Path, *words: str) -> Result:
    """A command about the recipe in a folder."""
    command, *rest = words
    return inside(
        command, str(place / "o'dd $(touch owned).toml"), *rest, "--results", str(place / "re sults"), cwd=place
    )


def told(place: Path, *words: str) -> dict:
    result = asked(place, *words, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def recipe(folder: Path, text: str) -> Path:
    """A recipe in a folder with a hostile name."""
    place = folder / 'it\'s "odd" $(touch owned)'
    (place / "re sults").mkdir(parents=True)
    (place / "o'dd $(touch owned).toml").write_text(text)
    return place


def queue(slurm: Cluster, form: str = "%i", *more: str) -> list[str]:
    return slurm.run("squeue", "--noheader", "--array", f"--format={form}", *more).splitlines()


def test_a_comparison_is_left_in_the_queue_shown_and_cancelled_and_nothing_else(slurm: Cluster, tmp_path: Path) -> None:
    place = recipe(tmp_path, ONE + HELD)
    foreign = slurm.run("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true").strip()
    left = told(place, "run", "--detach")
    total = told(place, "status")["total"]
    assert (len(left["submitted"]), left["held"], left["elsewhere"]) == (total, {}, [])
    assert left["arrays"] < total, "stages that wait for the same are one array"
    again = told(place, "run", "--detach")
    assert (again["submitted"], again["held"]) == ({}, left["submitted"])
    status = told(place, "status")
    assert (status["queued"], status["jobs"]) == (total, left["submitted"])

    for line in queue(slurm, "%i|%j|%k"):
        job, name, comment = line.split("|")
        if job != foreign:
            assert (place / "re sults" / name.partition(".")[0].partition("+")[0]).is_dir(), "from squeue to the stage"
            assert (comment.split()[:2], comment.endswith("re sults")) == (["harness", "tiny"], True)

    text = (ONE + HELD).replace("hidden = 16", "hidden = 24")  # it has the same name
    (place / "other.toml").write_text(text)  # it shares no stage
    words = ["run", str(place / "other.toml"), "--detach", "--json", "--results", str(place / "re sults")]
    other = inside(*words, cwd=place)
    others = set(json.loads(other.stdout)["submitted"].values())
    ended = told(place, "cancel")["cancelled"]
    assert ended == left["submitted"]
    assert other.exit_code == 0
    shown = queue(slurm, "%i %j %T %r")
    assert {line.split()[0] for line in shown} == {foreign} | others, f"{shown} {foreign} {sorted(others)}"
    assert "nothing in the queue" in asked(place, "cancel").stdout
    assert not list(tmp_path.rglob("owned"))
    assert told(place, "status").get("waiting", 0) > 0
    assert list(told(place, "run", "--detach")["submitted"]) == list(left["submitted"]), "it may be run again"


def test_a_stage_that_was_cancelled_is_told_by_status_watch_and_logs(slurm: Cluster, tmp_path: Path) -> None:
    place = recipe(tmp_path, ENDLESS)
    results = place / "re sults"
    left = told(place, "run", "--detach")["submitted"]
    until(lambda: queue(slurm, "%i", "--states=running"))
    job, *others = queue(slurm, "%i", "--states=running")
    name = next(stage for stage, its in left.items() if its == job)
    until((results / name / "log.txt").exists)
    status = told(place, "status")
    running = [stage for stage in left if left[stage] in (job, *others)]
    assert (status["running"], status["queued"]) == (len(running), status["total"] - len(running))
    assert status["jobs"] == left
    label = status["now"][[stage for stage in status["jobs"] if stage in running].index(name)]
    for which in (label, name, name[6:12], job):
        said = asked(place, "logs", which).stdout
        assert said.startswith(f"{label}: running, Slurm job {job} [{name}]")
        own, its = said.split("==>")[1:]
        assert f"--- {name}" in own, "the stage's log names the stage"
        assert f"Slurm job {job}" in own, "and the job"
        assert f"stage: {results / name}" in its, "the job's log leads to the stage"
    assert "queued, Slurm job" in asked(place, "logs", "dpo r0").stdout

    slurm.run("scancel", job)
    until(lambda: told(place, "status").get("failed") == 1)
    (failure,) = told(place, "status")["failures"]
    assert (failure["stage"], failure["cause"], failure["attempt"]) == (name, "cancelled", 1)
    assert "CANCELLED" in asked(place, "logs", label).stdout, "what Slurm has said"
    told(place, "cancel")
    watched = asked(place, "watch", "--every-seconds", "1")
    assert f"failed: {label} (cancelled, attempt 1): Slurm job {job}: it was cancelled" in watched.stdout
    assert (watched.exit_code, "blocked" in watched.stdout) == (1, True)
    assert Store(results).failure(name) is None, "nothing was written by looking"
    assert asked(place, "report", "--reports", str(place / "reports")).exit_code == 0
    assert (Store(results).failure(name) or {})["cause"] == "cancelled", "the report has written down what it found"


def test_what_is_asked_wrongly_is_answered_helpfully(slurm: Cluster, tmp_path: Path) -> None:
    place = recipe(tmp_path, ONE + HELD)
    wrong = asked(place, "logs", "dop r0")
    assert wrong.exception is not None
    assert "nothing in this recipe is called 'dop r0'; near: " in str(wrong.exception)
    assert "'dpo r0'" in str(wrong.exception)
    assert "waiting" in asked(place, "logs", "dpo r0").stdout
    local = asked(place, "run", "--detach", "--set", "launch.executor='local'")
    assert "--detach leaves jobs to Slurm, but launch.executor is 'local'" in str(local.exception)
    tuned = [word for text in ("trials=2", "random=1", "prompts=4") for word in ("--set", f"tune.{text}")]
    for search in ([], tuned):
        refused = asked(place, "run", "--detach", "--set", "launch.partition='nowhere'", *search)
        assert "Invalid partition" in str(refused.exception)
    assert not queue(slurm)


def submitted(place: Path) -> dict[int, str]:
    """The sbatch files that were submitted, by job."""
    files = {int(file.name.split("_")[0]): file for file in (place / "re sults/.slurm/submitted").glob("[0-9]*.sh")}
    return {job: files[job].read_text() for job in sorted(files)}


def pretended(texts: dict[int, str]) -> list[str]:
    """The same as a dry run writes them: nothing makes a job's name unique, and jobs are counted from 1."""
    counted = {str(job): str(number) for number, job in enumerate(texts, 1)}

    def recount(line: str) -> str:
        if line.startswith("#SBATCH --dependency="):
            return re.sub(r"(?<=:)\d+", lambda job: counted[job[0]], line)
        return re.sub(r"\.[0-9a-f]{6}$", ".000000", line) if line.startswith("#SBATCH --job-name=") else line

    return ["\n".join(map(recount, text.splitlines())) for text in texts.values()]


def dry(place: Path, *words: str) -> list[str]:
    files = [file["file"] for file in told(place, "run", "--dry-run", *words)["files"]]
    return ["\n".join(Path(file).read_text().splitlines()) for file in files]


def goes_in_first(slurm: Cluster, place: Path, *words: str) -> list[str]:
    """What a run has submitted once it waits."""
    shutil.rmtree(place / "re sults" / ".slurm")
    run = ["run", str(place / "o'dd $(touch owned).toml"), "--results", str(place / "re sults"), *words]
    driver = subprocess.Popen([sys.executable, "-m", "harness.cli", *run])
    try:
        until(lambda: queue(slurm) and not list((place / "re sults/.slurm/submitting").iterdir()))
        return pretended(submitted(place))
    finally:
        driver.kill()
        driver.wait()


def test_a_dry_run_writes_to_the_letter_what_is_submitted_afterwards(slurm: Cluster, tmp_path: Path) -> None:
    place = recipe(tmp_path, ONE + HELD)
    waves, graph = dry(place), dry(place, "--detach")
    assert not queue(slurm)
    told(place, "run", "--detach")
    assert pretended(submitted(place)) == graph
    assert any("#SBATCH --array=" in text for text in graph)
    assert any("#SBATCH --dependency=" in text for text in graph)

    told(place, "cancel")
    first = goes_in_first(slurm, place)
    assert first == waves[: len(first)], "its first wave"
    assert "#SBATCH --array=0-1%2" in first[0]
    told(place, "cancel")

    fewer = ("--set", "launch.workers=1")
    waves = dry(place, *fewer)
    first = goes_in_first(slurm, place, *fewer)
    assert first == waves[:1], "with fewer workers than ready stages"
    assert "#SBATCH --array" not in first[0]
    assert dry(place, *fewer) == waves[1:], "what is in the queue is not submitted again"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_comparison_that_is_left_to_slurm_is_that_of_the_local_executor(slurm: Cluster, tmp_path: Path) -> None:
    there = recipe(tmp_path / "there", ONE + HELD.replace('["--hold"]', "[]").replace("0.5", "1.9"))
    here = recipe(tmp_path / "here", ONE + "\n[launch]\nworkers = 2\n")
    left = told(there, "run", "--detach")["submitted"]
    assert asked(there, "watch").exit_code == 0
    assert asked(here, "run", "--reports", str(tmp_path / "reports")).exit_code == 0
    assert outputs(there / "re sults") == outputs(here / "re sults")
    assert len(left) == len(outputs(here / "re sults"))
