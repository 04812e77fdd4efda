"""Tuning: equal budgets, what is chosen and by what, failures, restarts, and the comparison that follows."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from clerk import Clerk, Finished, peak

from harness import registry
from harness.commands.clean import clean_recipe
from harness.commands.publish import publish_recipe
from harness.commands.run import _chosen, tune_recipe
from harness.errors import HarnessError
from harness.execute import note_death
from harness.executors import Ended, Handle
from harness.lease import Lease, newest
from harness.plan import make_plan
from harness.recipe import Recipe, Tune, read_recipe
from harness.recipe_metrics import roles_of
from harness.search.chosen import planned, read_studies, with_chosen
from harness.search.run import tune
from harness.search.rungs import halves
from harness.search.study import Search
from harness.search.trials import SEEDS, problems, trial_cells
from harness.stages import walk
from harness.store import Store

HERE = Path(__file__).parent
RECIPE = """
name = "x"
replicates = 2
[tune]
trials = 6
random = 3
[[algorithm]]
name = "dpo"
[[algorithm]]
name = "kto"
lambda_desirable = 1.0
lambda_undesirable = 1.0
"""


def recipe_of(folder: Path, *sets: str, text: str = RECIPE) -> Recipe:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "r.toml"
    path.write_text(text)
    return read_recipe(path, list(sets))


def search(folder: Path, *sets: str, text: str = RECIPE, **clerk: Any) -> tuple[list[dict[str, Any]], Clerk]:
    store = Store(folder / "results")
    worker = Clerk(store, **clerk)
    return tune(recipe_of(folder, *sets, text=text), store, lambda: worker), worker


def knobs_of(study: dict[str, Any]) -> list[dict[str, Any]]:
    return [trial["knobs"] for trial in study["trials"]]


def best(study: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = study["trials"][study["chosen"]]
    return found


def test_every_contestant_has_the_same_number_of_finished_trials_and_its_own_knobs_first(tmp_path: Path) -> None:
    studies, _ = search(tmp_path)
    assert [len(study["trials"]) for study in studies] == [6, 6]
    for study in studies:
        assert study["finished"]
        assert [trial["phase"] for trial in study["trials"]] == ["own", *["random"] * 3, *["guided"] * 2]
        first = study["trials"][0]
        assert first["knobs"] == {"learning_rate": 1e-4, "beta": 0.1}
        assert first["score"] == pytest.approx(peak(first["knobs"]))
        assert best(study)["score"] == max(trial["score"] for trial in study["trials"])
        assert [trial["device_seconds"] for trial in study["trials"]] == [6.0] * 6, "train, sample and grade"


def test_fixed_knobs_are_not_searched(tmp_path: Path) -> None:
    studies, _ = search(tmp_path)
    assert list(studies[1]["space"]) == ["learning_rate", "beta"]


@pytest.mark.parametrize(("sampler", "more"), [("tpe", 20), ("gp", 3)])
def test_the_sampler_learns_from_trials_that_it_did_not_draw(tmp_path: Path, sampler: str, more: int) -> None:
    """On one knob with one peak: after 10 random trials the next ones do better than random ones do on average."""
    text = RECIPE.split("[[algorithm]]")[0] + '[[algorithm]]\nname = "dpo"\nbeta = 0.2\n'
    studies, _ = search(tmp_path, f"tune.trials={11 + more}", "tune.random=10", f"tune.sampler={sampler}", text=text)
    trials = studies[0]["trials"]
    guided = [trial["score"] for trial in trials if trial["phase"] == "guided"]
    assert len(guided) == more
    below, over = math.log10(3e-4 / 1e-5), math.log10(1e-3 / 3e-4)
    of_random = 1 - (below**2 + over**2) / 2 / (below + over)  # the mean of `peak` over the whole range
    assert sum(guided) / more > of_random + 0.1


def test_trials_see_tune_prompts_and_no_gold(tmp_path: Path) -> None:
    _, worker = search(tmp_path)
    samples = [stage for stage in worker.ran if stage.kind == "sample"]
    grades = [stage for stage in worker.ran if stage.kind == "grade"]
    assert {stage.spec["split"] for stage in samples} == {"tune"}
    assert len(grades) == 2 * 6 + 1, "and the start"
    assert all("gold" not in stage.inputs for stage in grades)
    assert not any(stage.spec.get("split") in ("gold", "test", "heldout") for stage in worker.ran)


def test_no_seed_of_the_comparison_was_tuned_on(tmp_path: Path) -> None:
    _, worker = search(tmp_path)
    seeds = {str(stage.spec.get("seed", "")) for stage in worker.ran}
    assert f"replicate-{SEEDS}" in seeds
    assert not seeds & {f"replicate-{number}" for number in range(2)}


def test_a_failed_trial_is_finished_and_the_worst(tmp_path: Path) -> None:
    def fragile(knobs: dict[str, Any]) -> float:
        if knobs["learning_rate"] > 2e-4:
            raise FloatingPointError("the loss is nan")
        return peak(knobs)

    studies, _ = search(tmp_path, "tune.trials=8", "tune.random=6", score=fragile)
    for study in studies:
        failed = [trial for trial in study["trials"] if trial["status"] == "failed"]
        assert len(study["trials"]) == 8
        assert failed
        assert all(trial["cause"] == "divergence" and trial["score"] is None for trial in failed)
        assert all(trial["device_seconds"] == 2.0 for trial in failed), "what it had spent counts"
        assert best(study)["status"] == "done"
    told = [trial.value for study in in_journal(tmp_path) for trial in study.get_trials()]
    assert told.count(-math.inf) == sum(trial["status"] == "failed" for study in studies for trial in study["trials"])


@pytest.mark.parametrize(("deaths", "status"), [(1, "done"), (2, "failed")])
def test_a_trial_whose_workers_are_killed_is_tried_again_as_any_stage(tmp_path: Path, deaths: int, status: str) -> None:
    class Mortal(Clerk):
        """Each training of dpo dies so many times."""

        def submit(self, folder: Path) -> Handle:
            stage = self.store.load(folder.name)
            before = sum(one == stage for one in self.ran)
            if stage.kind == "train" and stage.spec["algorithm"]["name"] == "dpo" and before < deaths:
                self.ran.append(stage)
                return Finished(folder, Ended("lost", "killed", "signal 9", 1.0))
            return super().submit(folder)

    store = Store(tmp_path / "results")
    studies = tune(recipe_of(tmp_path, "launch.retries=1"), store, lambda: Mortal(store))
    assert [len(study["trials"]) for study in studies] == [6, 6]
    assert {trial["status"] for trial in studies[0]["trials"]} == {status}
    assert {trial["status"] for trial in studies[1]["trials"]} == {"done"}


@pytest.mark.parametrize("cause", ["cancelled", "refused", "no room", "network"])
def test_a_trial_that_failed_for_nothing_of_its_own_stays_open_for_the_next_run(cause: str, tmp_path: Path) -> None:
    class Cancelled(Clerk):
        """The second training of dpo is ended by somebody, Slurm does not take it, the disk is full, the hub away."""

        def submit(self, folder: Path) -> Handle:
            stage = self.store.load(folder.name)
            trained = [one for one in self.ran if one.kind == "train" and one.spec["algorithm"]["name"] == "dpo"]
            if stage.kind == "train" and stage.spec["algorithm"]["name"] == "dpo" and len(trained) == 1:
                self.ran.append(stage)
                note_death(self.store, stage.name, cause, "Slurm says so", 1.0)
                return Finished(folder, Ended("failed", cause, "Slurm says so"))
            return super().submit(folder)

    store, recipe = Store(tmp_path / "results"), recipe_of(tmp_path)
    with pytest.raises(HarnessError, match="nothing was lost"):
        tune(recipe, store, lambda: Cancelled(store))
    before = json.loads((store.root / "tuning" / "x" / "trials.json").read_text())["studies"]
    assert [trial["status"] for trial in before[0]["trials"]].count("open") == 1
    assert before[1]["finished"]
    studies = tune(recipe, store, lambda: Clerk(store))
    undisturbed, _ = search(tmp_path / "undisturbed")
    assert [knobs_of(study) for study in studies] == [knobs_of(study) for study in undisturbed]
    assert {trial["status"] for study in studies for trial in study["trials"]} == {"done"}


def test_what_no_study_can_do_without_is_told_once(tmp_path: Path) -> None:
    """A broken file fails the start and the reward model, on which all studies rest."""

    class Broken(Clerk):
        def submit(self, folder: Path) -> Handle:
            stage = self.store.load(folder.name)
            if stage.spec.get("algorithm", {}).get("name") in ("sft", "reward"):
                note_death(self.store, stage.name, "bad data", "a.jsonl, line 3: is no JSON", 1.0)
                return Finished(folder, Ended("failed", "bad data", "a.jsonl, line 3: is no JSON"))
            return super().submit(folder)

    store = Store(tmp_path / "results")
    with pytest.raises(HarnessError, match="what their trials rest on has failed") as told:
        tune(recipe_of(tmp_path), store, lambda: Broken(store))
    first, *others = str(told.value).splitlines()
    assert [word in first for word in ("dpo study 0", "kto study 0")] == [True, True]
    failed = len(list(store.root.glob("*/failed.json")))
    assert failed > 1
    assert others[0].endswith(": bad data: a.jsonl, line 3: is no JSON")
    assert others[1:] == [f"the same for {failed - 1} more"]


def test_a_trial_above_a_limit_is_not_chosen(tmp_path: Path) -> None:
    sets = ("tune.trials=10", "tune.random=9", "tune.limits.kl=1.1")
    rate = {"score": lambda knobs: knobs["learning_rate"], "kl": lambda knobs: 1e4 * knobs["learning_rate"]}
    studies, _ = search(tmp_path, *sets, **rate)
    for study in studies:
        kept = [t for t in study["trials"] if t["measured"]["kl"] <= 1.1]
        assert max(t["score"] for t in study["trials"]) > max(t["score"] for t in kept), "the limit matters"
        assert [t["feasible"] for t in study["trials"]] == [t in kept for t in study["trials"]]
        assert best(study)["score"] == max(t["score"] for t in kept)


def test_where_no_trial_keeps_the_limits_the_own_knobs_stay(tmp_path: Path) -> None:
    studies, _ = search(tmp_path, "tune.limits.kl=0.5")
    assert [(study["finished"], study["chosen"]) for study in studies] == [(True, None)] * 2
    plan = planned(recipe_of(tmp_path, "tune.limits.kl=0.5"), Store(tmp_path / "results"))
    reasons = {cell.contestant: cell.reason for cell in plan.cells if cell.contestant.endswith("tuned")}
    assert reasons == dict.fromkeys(("dpo tuned", "kto tuned"), "no trial finished within the limits kl = 0.5")


def test_studies_without_a_choice_are_told_from_those_that_the_own_knobs_won(tmp_path: Path) -> None:
    """Two studies of each: in one no trial keeps the limits, in the other the own knobs win."""
    sets = ("tune.studies=2", "tune.limits.kl=1.1", "tune.trials=2", "tune.random=1")
    recipe, store = recipe_of(tmp_path, *sets), Store(tmp_path / "results")
    studies = tune(recipe, store, lambda: Clerk(store, score=lambda knobs: float(knobs["learning_rate"] == 1e-4)))
    assert [study["chosen"] for study in studies] == [0] * 4
    for study in studies:
        study["chosen"] = None if study["number"] else 0
    (store.root / "tuning/x/trials.json").write_text(json.dumps({"studies": studies}))
    plan = planned(recipe, store)
    reasons = {cell.reason for cell in plan.cells if cell.contestant.endswith("tuned")}
    own = "the knobs that it had before won the search"
    assert reasons == {f"no trial finished within the limits kl = 1.1 in 1 of 2 searches; else {own}"}
    studies[2]["chosen"] = 1
    (store.root / "tuning/x/trials.json").write_text(json.dumps({"studies": studies}))
    kto = [cell for cell in planned(recipe, store).cells if cell.contestant == "kto tuned"]
    assert [cell.reason for cell in kto] == ["", ""]
    assert [cell.knobs["learning_rate"] == 1e-4 for cell in kto if "learning_rate" in cell.knobs] == [False]


FAILED = [{"status": "failed", "score": None, "feasible": False, "device_seconds": 2.0, "knobs": {}}] * 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "beta = 0.1; reward/selection 0.500 to 0.500; 2 trials (0 failed, 1 above a limit), 4 device-seconds"),
        (
            {"chosen": None},
            "no trial finished within the limits kl = 0.5, so that it keeps its own knobs; 2 trials (0 failed, 1 ",
        ),
        ({"chosen": None, "trials": FAILED}, "no trial has finished, so that it keeps its own knobs; 2 trials (2 "),
        ({"finished": False, "chosen": None}, ": 2 of 3 trials"),
    ],
)
def test_a_search_says_what_it_has_chosen(changes: dict[str, Any], said: str) -> None:
    trial = {"score": 0.5, "device_seconds": 2.0, "knobs": {"beta": 0.1}}
    trials = [{**trial, "trial": place, "status": "done", "feasible": not place} for place in range(2)]
    study = {"setting": "lab", "contestant": "dpo", "metric": "reward/selection", "limits": {"kl": 0.5}, "planned": 3}
    found = {**study, "finished": True, "chosen": 0, "trials": trials, **changes}
    assert _chosen(found).startswith("lab dpo: ")
    assert said in _chosen(found)


PRUNED = ("tune.trials=9", "tune.random=6", "tune.prune_at=30")


def test_trials_below_the_median_stop_at_the_look(tmp_path: Path) -> None:
    studies, worker = search(tmp_path, *PRUNED)
    ran = {(stage.spec.get("until"), stage.kind) for stage in worker.ran if stage.kind == "train"}
    assert ran >= {(30, "train"), (None, "train")}
    for study in studies:
        together = [trial["look"] for trial in study["trials"][:7]]
        below = [False, *(look < median(together) for look in together[1:])]
        for place in range(7, 9):  # guided ones are looked at one after the other
            looks = [trial["look"] for trial in study["trials"][: place + 1]]
            below.append(looks[-1] < median(looks))
        assert [trial["status"] == "pruned" for trial in study["trials"]] == below
        assert any(below[:7]), "else this shows nothing"
        assert [trial["device_seconds"] for trial in study["trials"]] == [6.0 if stop else 12.0 for stop in below]
        assert [trial["score"] is None for trial in study["trials"]] == below
        assert best(study)["score"] == max(trial["score"] for trial in study["trials"] if trial["score"] is not None)


LOOKS = (5.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0)
"""Scores of seven trials in the order in which they are asked; the median is 4."""
VERDICTS = ["done", *["pruned"] * 3, *["done"] * 3]
ALONE = RECIPE.split("[[algorithm]]")[0] + '[[algorithm]]\nname = "dpo"\n'
SEVEN = ("tune.trials=7", "tune.random=6", "tune.prune_at=30")


def looked_at(folder: Path) -> list[dict[str, Any]]:
    """The trials of a search of seven random ones that are looked at together."""
    asked = [
        knobs["learning_rate"]
        for knobs in knobs_of(search(folder / "asked", *SEVEN, text=ALONE, score=lambda _: 1.0)[0][0])
    ]

    def score(knobs: dict[str, Any]) -> float:
        return LOOKS[asked.index(knobs["learning_rate"])]

    trials: list[dict[str, Any]] = search(folder, *SEVEN, text=ALONE, score=score)[0][0]["trials"]
    return trials


def test_each_trial_of_a_round_counts_once_in_the_median(tmp_path: Path) -> None:
    trials = looked_at(tmp_path)
    assert [trial["look"] for trial in trials] == list(LOOKS)
    assert [trial["status"] for trial in trials] == VERDICTS


@pytest.mark.parametrize("after", range(8, 13))
def test_a_search_that_died_between_two_verdicts_ends_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    tell, told = Search.tell, []

    def mortal(self: Search, *given: Any) -> None:
        if len(told) == after:  # seven of them are of the search before
            raise KeyboardInterrupt
        told.append(given)
        tell(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Search, "tell", mortal)
        with pytest.raises(KeyboardInterrupt):
            looked_at(tmp_path)
    assert [trial["status"] for trial in looked_at(tmp_path)] == VERDICTS


def test_a_search_with_looks_ends_alike_wherever_it_was_stopped(tmp_path: Path) -> None:
    class Stopped(Clerk):
        """Is interrupted at its fourth stage."""

        def submit(self, folder: Path) -> Handle:
            if len(self.ran) == 3:
                raise KeyboardInterrupt
            return super().submit(folder)

    whole, _ = search(tmp_path / "whole", *PRUNED)
    store, recipe = Store(tmp_path / "stopped/results"), recipe_of(tmp_path / "stopped", *PRUNED)
    stops, found = 0, None
    while found is None:
        try:
            found = tune(recipe, store, lambda: Stopped(store))
        except KeyboardInterrupt:
            stops += 1
    assert found == whole
    assert stops >= 20


@pytest.mark.parametrize("sets", [(), PRUNED])
def test_the_weights_of_finished_trials_can_be_freed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sets: tuple[str, ...]
) -> None:
    _, worker = search(tmp_path, *sets)
    policies = [tmp_path / "results" / stage.name / "policy" for stage in worker.ran if stage.kind == "train"]
    for policy in policies:
        policy.mkdir()
        (policy / "weights").write_bytes(b"w")
    shared = {
        path.parent.name
        for path in policies
        if worker.store.load(path.parent.name).spec["seed"] != f"replicate-{SEEDS}"
    }
    clean_recipe(tmp_path / "r.toml", list(sets), tmp_path / "results", yes=True)
    assert "freed" in capsys.readouterr().out
    assert {path.parent.name for path in policies if path.exists()} == shared, "the comparison still needs them"


def started(store: Store, *, tuned_on: bool) -> list[Path]:
    """Weights of the starts of trials, or of the comparison."""
    policies = [store.load(path.parent.name) for path in store.root.glob("train-*/policy")]
    wanted = [one for one in policies if one.spec["algorithm"]["name"] == "sft"]
    return [store.root / one.name for one in wanted if (one.spec["seed"] == f"replicate-{SEEDS}") == tuned_on]


def test_what_open_trials_rest_on_is_not_freed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Heavy(Clerk):
        """Every policy has weights."""

        def submit(self, folder: Path) -> Handle:
            if folder.name.startswith("train-"):
                (folder / "policy").mkdir(exist_ok=True)
            return super().submit(folder)

    rounds: list[str] = []

    def stop(text: str, labels: dict[str, str]) -> None:
        rounds.append(text)
        if len(rounds) == 2:
            raise KeyboardInterrupt

    store, recipe = Store(tmp_path / "results"), recipe_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tune(recipe, store, lambda: Heavy(store), on_round=stop)
    studies = json.loads((store.root / "tuning/x/trials.json").read_text())["studies"]
    assert {trial["status"] for study in studies for trial in study["trials"]} == {"done", "open"}
    clean_recipe(tmp_path / "r.toml", [], store.root, yes=True)
    (start,) = started(store, tuned_on=True)
    told = {trial["stages"]["policy"] for study in studies for trial in study["trials"] if trial["stages"]}
    assert not any((store.root / name / "policy").exists() for name in told), "they are told, so nothing reads them"
    tune(recipe, store, lambda: Clerk(store))
    clean_recipe(tmp_path / "r.toml", [], store.root, yes=True)
    assert not (start / "policy").exists(), "no trial will read it"


def test_recipes_of_one_name_leave_each_other_their_studies(tmp_path: Path) -> None:
    short, _ = search(tmp_path, "budget.steps=40")
    long, _ = search(tmp_path)
    for sets, studies in ((("budget.steps=40",), short), ((), long)):
        recipe = recipe_of(tmp_path, *sets)
        assert read_studies(Store(tmp_path / "results"), recipe) == studies
        tuned = [one.label for one in with_chosen(recipe, Store(tmp_path / "results")).contestants[2:]]
        assert tuned == ["dpo tuned", "kto tuned"]
    publish_recipe(tmp_path / "r.toml", tmp_path / "results", unfinished=True)
    published = json.loads((tmp_path / "results/published/x/trials.json").read_text())
    assert published["studies"] == long, "its own alone"


def test_a_look_must_be_before_the_end(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"tune.prune_at is 60; it must be below budget.steps = 60"):
        recipe_of(tmp_path, "tune.prune_at=60")


def test_what_trains_in_rounds_is_not_stopped(tmp_path: Path) -> None:
    text = RECIPE.replace('"kto"\nlambda_desirable = 1.0\nlambda_undesirable = 1.0', '"cut_online"')
    recipe = recipe_of(tmp_path, text=text)
    for problem in problems(recipe, make_plan(recipe)):
        start, own = trial_cells(recipe, problem, [])
        assert (halves(own, 30) is None) == (problem.contestant.algorithm == "cut_online")
        assert halves(start, 30) is not None or start.is_start


def test_a_cap_on_device_seconds_ends_a_study(tmp_path: Path) -> None:
    studies, _ = search(tmp_path, "tune.device_seconds=13")
    assert [len(study["trials"]) for study in studies] == [3, 3], "6 s each; the third crosses 13 s"
    assert all(study["finished"] for study in studies)


def test_more_trials_go_on_where_fewer_ended(tmp_path: Path) -> None:
    few, _ = search(tmp_path)
    many, worker = search(tmp_path, "tune.trials=8")
    whole, _ = search(tmp_path / "whole", "tune.trials=8")
    assert knobs_of(many[0])[:6] == knobs_of(few[0])
    assert many[0]["trials"] == whole[0]["trials"]
    assert sum(stage.kind == "grade" for stage in worker.ran) == 2 * 2


def test_studies_are_independent_and_share_no_seed(tmp_path: Path) -> None:
    studies, _ = search(tmp_path, "tune.studies=2")
    assert [study["number"] for study in studies] == [0, 1, 0, 1]
    assert knobs_of(studies[0])[0] == knobs_of(studies[1])[0]
    assert knobs_of(studies[0])[1] != knobs_of(studies[1])[1]


def test_what_was_told_outlives_kills_of_the_controller(tmp_path: Path) -> None:
    """Killed at ten places, the search ends as one that was never disturbed, and no finished stage runs twice."""
    whole, worker = search(tmp_path / "whole")
    recipe_of(tmp_path / "killed")
    every = len(worker.ran)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from test_search import search;"
        "search(Path(sys.argv[2]), die_after=int(sys.argv[3]))"
    )
    ran, deaths = 0, 0
    while True:
        own = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
        command = [sys.executable, "-c", code, str(HERE), str(tmp_path / "killed"), "4"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=own)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        ran, deaths = ran + 4, deaths + 1
    studies = json.loads((tmp_path / "killed/results/tuning/x/trials.json").read_text())["studies"]
    assert deaths >= 10
    assert ran <= every
    assert studies == whole


def test_a_line_that_a_killed_writer_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    whole, _ = search(tmp_path)
    journal = tmp_path / "results/tuning/x/journal.log"
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"work')
    again, _ = search(tmp_path, "tune.trials=7")
    assert again[0]["trials"][:6] == whole[0]["trials"]


def test_a_trial_whose_values_were_being_written_is_asked_again(tmp_path: Path) -> None:
    whole, _ = search(tmp_path / "whole")
    journal = tmp_path / "whole/results/tuning/x/journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    cuts = range(5, len(lines), len(lines) // 6)
    for cut in cuts:
        folder = tmp_path / f"cut-{cut}"
        (folder / "results/tuning/x").mkdir(parents=True)
        (folder / "results/tuning/x/journal.log").write_bytes(b"".join(lines[:cut]))
        studies, _ = search(folder)
        assert [knobs_of(study) for study in studies] == [knobs_of(study) for study in whole]
        assert [study["chosen"] for study in studies] == [study["chosen"] for study in whole]


def in_journal(folder: Path) -> list[Any]:
    """The studies as Optuna reads them, by itself."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(folder / "results/tuning/x/journal.log")))
    names = [found.study_name for found in optuna.get_all_study_summaries(storage=storage)]
    return [optuna.load_study(storage=storage, study_name=name) for name in names]


def test_optuna_reads_the_journal_by_itself(tmp_path: Path) -> None:
    studies, _ = search(tmp_path)
    found = in_journal(tmp_path)
    assert [study.best_value for study in found] == [best(study)["score"] for study in studies]
    assert {trial.state.name for study in found for trial in study.get_trials()} == {"COMPLETE"}


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "results/tuning/x"
    folder.mkdir(parents=True)
    with Lease(folder), pytest.raises(HarnessError, match="worked on by"):
        search(tmp_path)


def test_a_run_elsewhere_that_is_silent_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.lease.STALE_SECONDS", 0.2)
    monkeypatch.setattr("harness.lease.LOOK_SECONDS", 0.1)
    folder = tmp_path / "results" / "tuning" / "x"
    folder.mkdir(parents=True)
    with Lease(folder):
        content = newest(folder)[1]
    (folder / "lease-000002.json").write_text(json.dumps({**content, "machine": ["elsewhere"], "released": False}))
    studies, _ = search(tmp_path)
    assert all(study["finished"] for study in studies)


def test_what_all_trials_rest_on_may_fail_without_costing_one(tmp_path: Path) -> None:
    class Broken(Clerk):
        def _measure(self, stage: Any) -> dict[str, float]:
            if stage.kind == "train" and stage.spec["algorithm"]["name"] == "sft":
                raise FloatingPointError("no start")
            return super()._measure(stage)

    store = Store(tmp_path / "results")
    with pytest.raises(HarnessError, match="no start"):
        tune(recipe_of(tmp_path), store, lambda: Broken(store))
    studies, _ = search(tmp_path)
    whole, _ = search(tmp_path / "whole")
    assert studies == whole


def test_the_comparison_has_each_contestant_as_it_was_and_as_it_was_tuned(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    before = make_plan(recipe)
    studies, _ = search(tmp_path)
    after = planned(recipe, Store(tmp_path / "results"))
    tuned = {cell.contestant: cell for cell in after.cells if cell.contestant.endswith("tuned")}
    assert set(tuned) == {"dpo tuned", "kto tuned"}
    assert tuned["dpo tuned"].knobs == best(studies[0])["knobs"]
    assert {stage.name for stage in before.stages()} < {stage.name for stage in after.stages()}
    trained = {stage.name for cell in after.cells for stage in cell.own}
    trials = {trial["stages"]["policy"] for study in studies for trial in study["trials"]}
    assert not trained & trials, "fresh seeds: no policy of a trial is judged again"


def test_each_replicate_has_the_knobs_of_its_own_study(tmp_path: Path) -> None:
    studies, _ = search(tmp_path, "tune.studies=2")
    plan = planned(recipe_of(tmp_path, "tune.studies=2"), Store(tmp_path / "results"))
    cells = sorted((cell.replicate, cell.knobs) for cell in plan.cells if cell.contestant == "dpo tuned")
    assert cells == [(number, best(studies[number])["knobs"]) for number in range(2)]


def test_where_the_own_knobs_won_there_is_nothing_to_compare(tmp_path: Path) -> None:
    search(tmp_path, score=lambda knobs: -abs(math.log(knobs["learning_rate"] / 1e-4)))
    plan = planned(recipe_of(tmp_path), Store(tmp_path / "results"))
    reasons = {cell.contestant: cell.reason for cell in plan.cells if cell.contestant.endswith("tuned")}
    assert reasons == dict.fromkeys(("dpo tuned", "kto tuned"), "the knobs that it had before won the search")


def test_a_search_of_another_recipe_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    search(tmp_path)
    plan = planned(recipe_of(tmp_path, "budget.steps=61"), Store(tmp_path / "results"))
    assert not [cell for cell in plan.cells if cell.contestant.endswith("tuned")]


def test_a_range_may_depend_on_another_knob(tmp_path: Path) -> None:
    text = (
        'name = "x"\n[tune]\n[[algorithm]]\nname = "ipo"\n[[algorithm]]\nname = "ipo"\nnormalise = "sum"\nlabel = "b"\n'
    )
    recipe = recipe_of(tmp_path, text=text)
    spaces = [problem.space["tau"] for problem in problems(recipe, make_plan(recipe))]
    assert [str(space) for space in spaces] == ["0.05 to 5 (log)", "0.01 to 1 (log)"]


def test_a_recipe_may_set_ranges(tmp_path: Path) -> None:
    more = (
        "[tune.search.dpo]\nbeta = { low = 0.05, high = 0.2, log = true }\nlabel_smoothing = { choice = [0.0, 0.1] }\n"
    )
    studies, _ = search(tmp_path, text=RECIPE + more)
    assert studies[0]["space"]["label_smoothing"] == {"choice": [0.0, 0.1]}
    assert all(0.05 <= knobs["beta"] <= 0.2 for knobs in knobs_of(studies[0]))


BARE = RECIPE.replace("[tune]\ntrials = 6\nrandom = 3\n", "")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "[reward]\nallow_shared_reward = true\n[reward.selection]\nsplit = 'tune'\n[reward.gold]\nsplit = 'tune'\n",
            ("reward.selection trains on split 'tune'", "reward.gold trains on split 'tune'", "a model for each role"),
        ),
        ("[[algorithm]]\nname = 'ipo'\nlabel = 'dpo tuned'\n", ("'dpo tuned' is what 'dpo' is called once it",)),
    ],
)
def test_a_recipe_without_tune_is_tuned_as_if_it_had_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, said: tuple[str, ...]
) -> None:
    monkeypatch.setattr("harness.commands.run.search", lambda *_: pytest.fail("trials would run"))
    recipe_of(tmp_path, text=BARE + more)
    with pytest.raises(HarnessError) as told:
        tune_recipe(tmp_path / "r.toml", [], tmp_path / "results", as_json=False)
    assert [part for part in said if part not in str(told.value)] == []
    assert str(told.value).startswith(str(tmp_path / "r.toml"))


def test_a_recipe_without_tune_has_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Recipe] = []
    monkeypatch.setattr("harness.commands.run.search", lambda recipe, *_: seen.append(recipe) or [])
    recipe_of(tmp_path, text=BARE)
    for sets in ([], ["tune.trials=9"]):
        tune_recipe(tmp_path / "r.toml", sets, tmp_path / "results", as_json=False)
    assert [one.tune for one in seen] == [Tune(), Tune(trials=9)]


REFUSED = {
    "split": ("split = 'test'", "knobs are chosen on split 'tune'"),
    "gold": ("metric = 'reward/gold'", "gold judges the comparison"),
    "oracle": ("metric = 'reward/oracle'", "oracle judges the comparison"),
    "metric": ("metric = 'rewards/selection'", "did you mean 'reward'?"),
    "limit": ("limits.kll = 3", "did you mean 'kl'?"),
    "no role": ("metric = 'reward'", "reward/selection"),
    "word": ("trails = 3", "did you mean 'trials'?"),
    "random": ("random = 12", "11 at most"),
    "studies": ("studies = 3", "it must be 1, or 2"),
    "no better side": ("metric = 'kl'", "kl is not better when higher; limit it in tune.limits"),
    "lower": ("metric = 'degenerate'", "degenerate is not better when higher"),
    "strange role": ("metric = 'chosen_logp/behind'", "it must be chosen_logp or chosen_logp/after"),
    "of the start": ("metric = 'chosen_logp/before'", "it must be chosen_logp or chosen_logp/after"),
    "judged": ("metric = 'soft_win_chosen'", "gold or oracle judges the comparison; use reward/selection"),
    "limit by role": ("limits.reward = 1", "reward has values by role alone, which limits do not hold"),
    "limit of nothing": ("limits.kl = inf", "tune.limits.kl: inf is no finite number; where there is to be no limit"),
    "limit of nan": ("limits.kl = nan", "tune.limits.kl: nan is no finite number"),
    "limit too large": (f"limits.kl = 1{'0' * 400}", "is no finite number"),
    "limit of one sample": ("samples = 1\nlimits.self_bleu = 3", "set tune.samples to 2 or more, it is 1"),
    "misspelt stranger": (
        "search.dop.beta = { low = 0.1, high = 1.0 }",
        "has that name; did you mean 'dpo'? (it has: dpo)",
    ),
    "no table": ("search.dpo = 3", "tune.search.dpo is 3; it must be a table of knobs, each with { low"),
    "word for log": (
        "search.dpo.beta = { low = 0.05, high = 1.0, log = 'false' }",
        "log is 'false'; it must be true or",
    ),
    "choice twice": ("search.dpo.beta = { choice = [0.1, 0.3, 0.1] }", "dpo.beta.choice has 0.1 more than once"),
    "ends of words": ("search.dpo.normalise = { low = 'sum', high = 'sum' }", "is no number; write { choice = [...] }"),
    "knob": ("search.dpo.betta = { low = 0.1, high = 1.0 }", "did you mean 'beta'?"),
    "range": ("search.dpo.beta = { low = 1.0, high = 0.1 }", "low must be below high"),
    "log": ("search.dpo.label_smoothing = { low = 0.0, high = 0.1, log = true }", "above 0 on a log scale"),
    "shape": ("search.dpo.beta = [0.1, 1.0]", "it must be { low"),
    "valid": ("search.dpo.beta = { low = -1.0, high = 1.0 }", "valid: (0, inf)"),
    "default": ("search.dpo.beta = { low = 0.3, high = 1.0 }", "the default 0.1"),
    "stranger": ("search.ipo.tau = { low = 0.1, high = 1.0 }", "no [[algorithm]] of the recipe has that name"),
    "dependent": ("search.dpo.normalise = { choice = ['sum', 'tokens'] }", "depends on 'normalise'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_tuned_is_refused_at_reading(case: str, tmp_path: Path) -> None:
    line, message = REFUSED[case]
    text = 'name = "x"\nreplicates = 2\n[[algorithm]]\nname = "dpo"\n[tune]\n' + line
    with pytest.raises(HarnessError) as caught:
        recipe_of(tmp_path, text=text)
    assert message in str(caught.value)
    assert "r.toml:" in str(caught.value)


def test_an_algorithm_of_another_recipe_is_no_misspelling(tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        recipe_of(tmp_path, text=f"{RECIPE}[tune.search.ipo]\ntau = {{ low = 0.1, high = 1.0 }}\n")
    assert str(caught.value).endswith(
        "tune.search.ipo: no [[algorithm]] of the recipe has that name (it has: dpo, kto)"
    )


def test_a_range_for_what_every_contestant_fixes_is_told(tmp_path: Path) -> None:
    range_ = "[tune.search.kto]\nlambda_desirable = { low = 0.5, high = 2.0 }\n"
    with pytest.raises(HarnessError, match=r"the recipe fixes lambda_desirable \(.*r.toml:9\), so that it is not"):
        recipe_of(tmp_path, text=RECIPE + range_)
    recipe_of(tmp_path, text=f'{RECIPE}{range_}[[algorithm]]\nname = "kto"\nbeta = 0.2\n')  # one of two searches it


@pytest.mark.parametrize("role", ["selection", "proxy"])
def test_knobs_may_be_chosen_by_a_rule(role: str, tmp_path: Path) -> None:
    recipe_of(tmp_path, f"tune.metric=reward/{role}", text=f'{RECIPE}[reward.{role}]\nrule = "total"\n')


UNMEASURED = {
    "reward/selection": "it needs pairs; dataset 'd.jsonl' has demonstrations, prompts",
    "preference_accuracy": "it needs pairs; dataset 'd.jsonl' has demonstrations, prompts",
    "blame": "it needs judgments; dataset 'd.jsonl' has demonstrations, prompts",
}


@pytest.mark.parametrize("metric", UNMEASURED)
def test_what_trials_cannot_measure_is_refused(metric: str, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "Why?", "response": "So."}\n')
    text = 'name = "x"\n[[dataset]]\nsource = "d.jsonl"\nview = "demonstrations"\n[[start]]\nname = "base"\n'
    with pytest.raises(HarnessError) as caught:
        recipe_of(tmp_path, text=f'{text}[[algorithm]]\nname = "sft"\n[tune]\nmetric = "{metric}"\nlimits = {{}}\n')
    assert f"r.toml:10: tune.metric is '{metric}': {UNMEASURED[metric]}" in str(caught.value)


def test_a_limit_that_nothing_would_hold_is_refused(tmp_path: Path) -> None:
    recipe_of(tmp_path, "tune.limits.kl=9")
    with pytest.raises(HarnessError, match=r"is measured at evaluation\.temperature = 1 alone, and that is 0\.7"):
        recipe_of(tmp_path, "tune.limits.kl=9", "evaluation.temperature=0.7")


def test_greedy_responses_are_limited_where_there_are_some(tmp_path: Path) -> None:
    recipe_of(tmp_path, "tune.limits.greedy_length=9")
    with pytest.raises(HarnessError, match=r"greedy_length: it is of greedy responses; set evaluation.greedy = true"):
        recipe_of(tmp_path, "tune.limits.greedy_length=9", "evaluation.greedy=false")


def test_roles_of_metrics_are_those_that_grades_have() -> None:
    """The published grades have values of every metric here but of those that few datasets have."""
    measured: dict[str, set[str]] = {}
    for file in (HERE.parent / "results/published/compare_all").glob("grade-*/record.json"):
        for item in json.loads(file.read_text())["measurements"]:
            name, _, role = item["metric"].partition("/")
            measured.setdefault(name, set()).add(role.split(".")[0])
    known = [name for name in registry.names("metrics") if registry.load("metrics", name).usual]
    assert {name: measured[name] for name in known} == {name: set(roles_of(name) or ()) for name in known}


def test_a_reward_model_may_not_train_on_the_tune_split(tmp_path: Path) -> None:
    text = 'name = "x"\n[tune]\n[reward.selection]\nsplit = "tune"\n[[algorithm]]\nname = "dpo"\n'
    with pytest.raises(HarnessError, match="on which knobs are chosen"):
        recipe_of(tmp_path, text=text)


def test_what_chooses_may_not_be_what_judges_even_where_sharing_is_allowed(tmp_path: Path) -> None:
    shared = '[reward]\nallow_shared_reward = true\n[reward.selection]\nsplit = "gold"\n'
    recipe_of(tmp_path, text=f'name = "x"\n{shared}[[algorithm]]\nname = "dpo"\n')
    with pytest.raises(HarnessError, match="chosen by what judges them"):
        recipe_of(tmp_path, text=f'name = "x"\n{shared}[tune]\n[[algorithm]]\nname = "dpo"\n')


def test_every_default_lies_in_its_declared_range(tmp_path: Path) -> None:
    from harness import registry

    kinds = {name: registry.load("algorithms", name) for name in registry.names("algorithms")}
    able = [name for name, kind in kinds.items() if kind.product == "policy" and kind.needs.start]
    tables = "".join(f'[[algorithm]]\nname = "{name}"\n' for name in able)
    recipe = recipe_of(tmp_path, text=f'name = "x"\n[tune]\n{tables}')
    assert {problem.contestant.label for problem in problems(recipe, make_plan(recipe))} >= set(able) - {
        *("base", "sft", "feedback_prompting")
    }


def test_the_keys_of_trials_are_those_of_any_contestant(tmp_path: Path) -> None:
    """A trial with the own knobs is the contestant itself, in the study's replicate."""
    recipe = recipe_of(tmp_path)
    problem = problems(recipe, make_plan(recipe))[0]
    start, own, trial = trial_cells(recipe, problem, [problem.first])
    assert trial.grades[None] == own.grades[None]
    assert start.grades[None] in set(walk([trial.grades[None]])) or start.policy in set(walk([trial.grades[None]]))


def test_random_trials_are_independent_and_spread_evenly(tmp_path: Path) -> None:
    """Uniform in the logarithm, and no rank correlation with the trial before; p above .01 for a fixed seed."""
    from scipy import stats

    text = RECIPE.split("[[algorithm]]")[0] + '[[algorithm]]\nname = "dpo"\n'
    studies, _ = search(tmp_path, "tune.trials=121", "tune.random=120", text=text)
    drawn = [trial["knobs"] for trial in studies[0]["trials"][1:]]
    for name, low, high in (("learning_rate", 1e-5, 1e-3), ("beta", 1e-2, 1.0)):
        values = [math.log(knobs[name] / low) / math.log(high / low) for knobs in drawn]
        assert stats.kstest(values, "uniform").pvalue > 0.01
        assert stats.spearmanr(values[1:], values[:-1]).pvalue > 0.01
    both = stats.spearmanr([knobs["learning_rate"] for knobs in drawn], [knobs["beta"] for knobs in drawn])
    assert both.pvalue > 0.01
