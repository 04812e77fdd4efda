"""What a stage's job asks for, and the sbatch files of a run that is only shown; no cluster is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from bricks import PLUGINS, brick
from test_cli import TINY, harness

from harness.dispatch import waves
from harness.errors import HarnessError
from harness.executors import Executor, Handle
from harness.executors._slurm_script import sbatch_file
from harness.executors.slurm import Slurm
from harness.launch import asked
from harness.recipe import read_recipe
from harness.store import Store

LAUNCH = """
[[algorithm]]
name = "ppo"

[launch]
executor = "slurm"
timeout_min = 30
partition = "gpu"
setup = ["module load cuda"]

[launch.train]
gpus = 1
timeout_min = 60

[launch.sample]
partition = "small"

[launch.algorithm.ppo]
gpus = 4
timeout_min = 240
memory_gb = 200
sbatch = ["--exclusive", "--mail-type=END"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "r.toml"
    path.write_text(text)
    return path


def spec(kind: str, algorithm: str = "") -> dict[str, Any]:
    return {"kind": kind, **({"algorithm": {"name": algorithm}} if algorithm else {})}


def test_the_more_specific_wins(tmp_path: Path) -> None:
    resources = read_recipe(write(tmp_path, TINY + LAUNCH)).launch.resources
    ppo, dpo = asked(resources, spec("train", "ppo")), asked(resources, spec("train", "dpo"))
    assert (ppo.gpus, ppo.timeout_min, ppo.memory_gb, ppo.partition, ppo.processes) == (4, 240, 200, "gpu", 4)
    assert (dpo.gpus, dpo.timeout_min, dpo.memory_gb, dpo.partition, dpo.processes) == (1, 60, 0, "gpu", 1)
    sample, grade = asked(resources, spec("sample")), asked(resources, spec("grade"))
    assert (sample.partition, grade.partition) == ("small", "gpu")
    assert (sample.gpus, sample.timeout_min, sample.setup) == (0, 30, ("module load cuda",))


def test_only_training_has_several_processes() -> None:
    resources = {"gpus": 8, "nodes": 2}
    train, sample = asked(resources, spec("train", "dpo")), asked(resources, spec("sample"))
    assert (train.processes_per_node, train.processes) == (8, 16)
    assert (sample.gpus, sample.nodes, sample.processes) == (1, 1, 1)


def test_the_driver_asks_for_little_but_where_the_others_are(tmp_path: Path) -> None:
    resources = read_recipe(write(tmp_path, TINY + LAUNCH)).launch.resources
    driver = asked(resources, {"kind": "driver"})
    assert (driver.cpus, driver.gpus, driver.nodes, driver.memory_gb) == (1, 0, 1, 2)
    assert (driver.partition, driver.timeout_min, driver.setup) == ("gpu", 30, ("module load cuda",))
    text = "[launch.driver]\npartition = 'cpu'\ntimeout_min = 600\nsbatch = []\n"
    resources = read_recipe(write(tmp_path, TINY + LAUNCH + text)).launch.resources
    driver = asked(resources, {"kind": "driver"})
    assert (driver.partition, driver.timeout_min, driver.memory_gb) == ("cpu", 600, 2)
    assert asked(resources, spec("train", "dpo")).partition == "gpu"


MISTAKES = {
    "[launch.smaple]\ngpus = 1": "r.toml:3: [launch.smaple] is for nothing; did you mean 'sample'?",
    "[launch.drivr]\ncpus = 1": "r.toml:3: [launch.drivr] is for nothing; did you mean 'driver'?",
    "[launch.train]\ngpu = 1": "r.toml:4: launch.train has no knob 'gpu'; did you mean 'gpus'?",
    "[launch.train]\nworkers = 1": "r.toml:4: launch.train.workers: it is alike for all stages; write it in [launch]",
    "[launch.sample]\nnodes = 2": "r.toml:4: launch.sample.nodes is 2; only training works in several processes",
    "[launch.algorithm.pop]\ngpus = 1": "r.toml:3: there is no algorithm 'pop'; did you mean 'ppo'?",
    "[launch.algorithm]\nppo = 1": "r.toml:4: launch.algorithm.ppo must be a table, not 1",
    '[launch]\nsbatch = ["-x"]': "r.toml:4: sbatch has '-x'; write options as --name or --name=value",
    '[launch]\nsbatch = ["--array=1-9"]': "r.toml:4: sbatch has '--array=1-9'; harness decides --array itself",
    '[launch]\npartition = "a\\ntouch owned"': "r.toml:4: launch.partition is 'a\\ntouch owned'; it must be without",
    '[launch.train]\nqos = "a\\rb"': "r.toml:4: launch.train.qos is 'a\\rb'; it must be without newlines",
    '[launch]\nsbatch = ["--x=a\\rb"]': "r.toml:4: sbatch has '--x=a\\rb'; an option must be without control",
    '[launch]\nsbatch = ["--mem=9G"]': "r.toml:4: sbatch has '--mem=9G'; it is set with memory_gb",
    '[launch]\nsetup = "module load cuda"': "r.toml:4: launch.setup is 'module load cuda'; it must be a list of lines",
    '[launch]\nsetup = ["cd", "export HF_TOKEN=of-my-own"]': "r.toml:4: launch.setup has a secret in its line 2, which",
    '[launch.train]\nsbatch = ["--export=X_KEY=0123abcd"]': "r.toml:4: launch.train.sbatch has a secret in its line 1",
    "[launch]\nsetup = ['curl -H \"Authorization: Bearer abc123def456\" x']": "r.toml:4: launch.setup has a secret",
    '[launch]\nsetup = ["login hf_0123456789abcdef"]': "r.toml:4: launch.setup has a secret in its line 1, which",
    "[launch]\nmemory_gb = inf": "r.toml:4: launch.memory_gb is inf; valid: [0, inf)",
    '[launch]\nexecutor = "slurm"\ntimeout_min = 9\n[launch.grade]\ntimeout_min = 0': (
        "r.toml:7: launch.grade.timeout_min is 0, which is no limit; slurm needs one, in minutes"
    ),
    '[launch]\nexecutor = "slurm"\ntimeout_min = 9\n[launch.algorithm.ppo]\ntimeout_min = 0.0': (
        "r.toml:7: launch.algorithm.ppo.timeout_min is 0, which is no limit"
    ),
    "[launch.train]\nsteup = []": "did you mean 'setup'?",
    "[launch]\ntracker = []": "did you mean 'trackers'?",
    "[launch]\nbundle = -1": "r.toml:4: launch.bundle is -1; valid: [0, inf)",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_each_mistake_is_told_with_its_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        read_recipe(write(tmp_path, f'name = "x"\nalgorithm = [{{name = "dpo"}}]\n{text}\n'))
    assert MISTAKES[text] in str(caught.value)


def test_without_slurm_no_time_limit_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "x"\nalgorithm = [{name = "dpo"}]\n[launch.grade]\ntimeout_min = 0\n')
    assert read_recipe(path).launch.stages == {"grade": {"timeout_min": 0}}


def test_where_a_secret_is_kept_may_be_said(tmp_path: Path) -> None:
    lines = ("source ~/.secrets", "export HF_TOKEN=$MINE", 'export HF_TOKEN="$(cat ~/.hf)"', "export SSL_KEY=/my.key")
    text = f'name = "x"\nalgorithm = [{{name = "dpo"}}]\n[launch]\nsetup = {json.dumps(lines)}'
    recipe = read_recipe(write(tmp_path, text))
    assert recipe.launch.setup == lines


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    text = "[launch]\ntimeout = 3\n[launch.train]\ngpu = 1\n[launch.algorithm.pop]\nnodes = 0\n"
    with pytest.raises(HarnessError) as caught:
        read_recipe(write(tmp_path, f'name = "x"\nalgorithm = [{{name = "dpo"}}]\n{text}'))
    assert sorted(line.split(":")[1] for line in str(caught.value).splitlines()) == ["4", "6", "7", "8"]


@pytest.mark.parametrize(("given", "most"), [("true", 0), ("false", 1), ("4", 4)])
def test_bundles_are_all_none_or_so_many(given: str, most: int, tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, f'name = "x"\nalgorithm = [{{name = "dpo"}}]\nlaunch.bundle = {given}\n'))
    assert recipe.launch.bundle == most


def test_a_dry_run_writes_what_each_algorithm_asks_for_and_submits_nothing(tmp_path: Path) -> None:
    write(tmp_path, TINY + LAUNCH)
    done = harness("run", "r.toml", "--dry-run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["files"]
    asking = {
        label: {line.removeprefix("#SBATCH --") for line in Path(tmp_path / file["file"]).read_text().splitlines()}
        for file in files
        for job in file["jobs"]
        for label in job.values()
    }
    own = {"gpus-per-node=4", "ntasks-per-node=4", "time=240", "mem=204800M", "exclusive", "mail-type=END"}
    assert own <= asking["train ppo r0"]
    assert {"gpus-per-node=1", "time=60", "partition=gpu"} <= asking["train dpo r0"]
    assert not own & asking["train dpo r0"]
    assert "partition=small" in asking["sample ppo r0"]
    assert not any(line.startswith("gpus") for line in asking["sample ppo r0"])
    text = Path(tmp_path / files[0]["file"]).read_text()
    assert text.index("module load cuda") < text.index("srun ")
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [".slurm"], "no stage is prepared"
    planned = json.loads(harness("plan", "r.toml", "--json", cwd=tmp_path).stdout)
    assert sum(len(job) for file in files for job in file["jobs"]) == sum(planned["stages"].values())


@pytest.mark.parametrize(("minutes", "notice"), [(1, 20), (1.5, 40), (3, 60), (240, 90)])
def test_a_job_is_told_of_its_limit_a_third_of_its_time_before_or_less(minutes: float, notice: int) -> None:
    executor = Slurm(timeout_min=minutes)
    array = executor.array(asked(executor.resources, spec("grade")), {0: [Path("/results/grade-a")]})
    assert f"#SBATCH --signal=USR2@{notice}\n" in sbatch_file(array)


@pytest.mark.parametrize(("given", "found"), [((), []), (("--wckey=own",), ["#SBATCH --wckey=own"])])
def test_only_a_wckey_that_is_given_is_sent(given: tuple[str, ...], found: list[str]) -> None:
    executor = Slurm(timeout_min=5, resources={"sbatch": given})
    array = executor.array(asked(executor.resources, spec("grade")), {0: [Path("/results/grade-a")]})
    assert [line for line in sbatch_file(array).splitlines() if "wckey" in line] == found


def test_a_dry_run_into_a_folder_that_slurm_would_misread_is_refused(tmp_path: Path) -> None:
    write(tmp_path, TINY + LAUNCH)
    done = harness("run", "r.toml", "--dry-run", "--results", "a\ntouch owned; #b", cwd=tmp_path)
    assert (done.returncode, "Slurm cannot write into a path with" in done.stderr) == (2, True)
    assert not list(tmp_path.rglob("*.sh"))


def test_a_dry_run_of_what_does_not_go_to_slurm_is_refused(tmp_path: Path) -> None:
    write(tmp_path, TINY)
    done = harness("run", "r.toml", "--dry-run", cwd=tmp_path)
    assert (done.returncode, "launch.executor is 'local' and not 'slurm'" in done.stderr) == (2, True)


class Bundling(Executor):
    """Takes bundles, but none of a stage called apart."""

    slots, bundle = 100, 100

    def submit(self, folder: Path) -> Handle:
        raise AssertionError("nothing is submitted")

    def submit_bundle(self, folders: Sequence[Path]) -> list[Handle]:
        raise AssertionError("nothing is submitted")

    def alike(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        return "apart" not in str(other)

    def close(self) -> None:
        pass


def test_what_follows_one_another_is_one_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)
    ground = brick("ground")
    left, right = (brick(f"{side} 1", ground) for side in ("left", "right"))
    tops = [brick(f"{one.algorithm['knobs']['label']} 2", one) for one in (left, right)]
    apart = brick("apart", tops[0])
    both = brick("both", *tops)
    executor = Bundling()
    found = [
        [[stage.spec["algorithm"]["knobs"]["label"] for stage in bundle] for bundle in wave]
        for wave in waves([apart, both], Store(tmp_path), executor)
    ]
    assert found[0] == [["ground"]], "of two training runs that read the same none follows"
    assert sorted(found[1]) == [["left 1", "left 1 2"], ["right 1", "right 1 2"]]
    assert sorted(found[2]) == [["apart"], ["both"]]
    executor.bundle = 1
    assert [len(wave) for wave in waves([both], Store(tmp_path), executor)] == [1, 2, 2, 1]


def test_only_what_asks_for_the_same_and_is_one_process_shares_a_job() -> None:
    few = Slurm(timeout_min=9, resources={"stages": {"bench": {"memory_gb": 9}}})
    assert few.alike(spec("train", "dpo"), spec("sample"))
    assert not few.alike(spec("train", "dpo"), spec("bench"))
    many = Slurm(timeout_min=9, resources={"nodes": 2})
    assert not many.alike(spec("train", "dpo"), spec("train", "dpo"))
    assert many.alike(spec("sample"), spec("grade"))
