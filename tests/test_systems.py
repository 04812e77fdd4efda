"""Ways of using a policy: what each answers, what it spends, and what is measured of it."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from small import (
    SmallData,
    grade_stage,
    sample_stage,
    save_small_policy,
    save_small_reward,
    small_policy,
    train_stage,
)

from harness import registry
from harness.causes import classify
from harness.data import Message, Row
from harness.errors import HarnessError
from harness.inference.opened import open_policy
from harness.inference.rendering import end_token, prompt_hash, render_prompt
from harness.inference.sampling import noise, sample
from harness.inference.scoring import score
from harness.inference.systems import check_lengths, write_samples
from harness.metrics._bench import GradeBench, Response
from harness.metrics._grade import grade

POLICY, START = train_stage(), train_stage("replicate-1")
Table = dict[tuple[str, int], dict[str, Any]]


@dataclass(frozen=True)
class Judged(SmallData):
    """A judge who wants w3 or an early end, in words of the world."""

    judges: ClassVar[bool] = True
    praise: ClassVar[str] = "w19 w18"

    def judge(self, prompt: list[Message], response: str) -> str | None:
        words = response.split()
        return None if "w3" in words or len(words) < 3 else f"w17 {words[0]}"

    def judged(self, prompt: list[Message], judgment: str | None) -> list[Message]:
        return [{"role": "user", "content": f"{prompt[0]['content']} {judgment or self.praise}"}]

    def again(self, prompt: list[Message], response: str, judgment: str) -> list[Message]:
        return [*prompt, {"role": "assistant", "content": response}, {"role": "user", "content": judgment}]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("results")
    save_small_policy(root / "policy", seed=0)
    save_small_policy(root / "start", seed=1)
    save_small_reward(root / "reward", seed=4)
    return {role: root / role for role in ("policy", "start", "reward")}


def answers(
    out: Path, inputs: dict[str, Path], procedure: dict[str, Any], rows: list[Row] | None = None, **changed: Any
) -> Table:
    """A system's samples by prompt and k."""
    out.mkdir(exist_ok=True)
    stage = sample_stage(POLICY, procedure=procedure, **changed)
    write_samples(out, inputs, rows or Judged().rows("prompts", "test"), Judged(), stage)
    return {(line["prompt_id"], line["k"]): line for line in pq.read_table(out / "samples.parquet").to_pylist()}


PLAIN = {"name": "plain"}
SAID = ("token_ids", "logps", "end", "response")


def said(line: dict[str, Any]) -> list[Any]:
    return [line[name] for name in SAID]


# --- best of n ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool(world: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    """What the policy answers with the noise of each of five candidates; the first is its plain response."""
    seeds = ["replicate-0", *(f"replicate-0 candidate {i}" for i in range(1, 5))]
    return [answers(tmp_path_factory.mktemp("pool"), world, PLAIN, seed=seed) for seed in seeds]


def worth_of(pool: list[Table], proxy: str, folder: Path) -> dict[tuple[str, int], list[float]]:
    """The proxy's score of each candidate, by prompt and k."""
    prompts = {row["prompt_id"]: row["prompt"] for row in Judged().rows("prompts", "test")}
    texts = [(prompts[place[0]], table[place]["response"]) for place in pool[0] for table in pool]
    rule = [Judged().score(*text)["total"] for text in texts]
    worth = rule if proxy == "rule" else score(folder / "reward", texts, 1)
    return {place: worth[i * len(pool) : (i + 1) * len(pool)] for i, place in enumerate(pool[0])}


@pytest.mark.parametrize("proxy", ["rule", "model"])
def test_best_of_n_is_the_first_of_the_best_of_n_draws(
    world: dict[str, Path], pool: list[Table], tmp_path: Path, proxy: str
) -> None:
    """With candidates that are the same for every n: those of n = 2 are the first two of n = 4."""
    inputs = world if proxy == "model" else {"policy": world["policy"]}
    worth = worth_of(pool, proxy, world["reward"])
    chosen = set()
    for n in (2, 4, 5):
        found = answers(
            tmp_path, inputs, {"name": "best_of_n", "n": n}, **({"rule": "total"} if proxy == "rule" else {})
        )
        assert found.keys() == pool[0].keys()
        for place, line in found.items():
            best = worth[place].index(max(worth[place][:n]))
            assert said(line) == said(pool[best][place])
            assert line["spent_tokens"] == sum(len(table[place]["token_ids"]) for table in pool[:n])
            assert line["prompt_hash"] == pool[0][place]["prompt_hash"]
            chosen.add(best)
    assert chosen == set(range(5)), "each candidate wins somewhere"
    ties = [values for values in worth.values() if sorted(values)[-1] == sorted(values)[-2]]
    assert ties or proxy == "model", "the rule gives whole numbers, so that there are equals to choose from"


def test_best_of_n_does_not_depend_on_batch_order_or_the_number_of_samples(
    world: dict[str, Path], tmp_path: Path
) -> None:
    procedure = {"name": "best_of_n", "n": 3}
    once = answers(tmp_path, world, procedure)
    again = answers(tmp_path, world, procedure, batch=5)
    assert {place: line["token_ids"] for place, line in again.items()} == {p: o["token_ids"] for p, o in once.items()}
    other = answers(tmp_path, world, procedure, rows=Judged().rows("prompts", "test")[::-1], samples=1)
    assert len(other) == 12
    assert all(line["token_ids"] == once[place]["token_ids"] for place, line in other.items())
    assert all(line["spent_tokens"] == once[place]["spent_tokens"] for place, line in other.items())


def test_best_of_n_without_a_proxy_is_refused(world: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="there is no proxy reward: neither a reward model nor a rule"):
        answers(tmp_path, {"policy": world["policy"]}, {"name": "best_of_n", "n": 2})


def test_the_summary_counts_all_that_was_generated(world: dict[str, Path], tmp_path: Path) -> None:
    stage = sample_stage(POLICY, procedure={"name": "best_of_n", "n": 4})
    found = {m.metric: m.value for m in write_samples(tmp_path, world, Judged().rows("prompts", ""), Judged(), stage)}
    table = pq.read_table(tmp_path / "samples.parquet").to_pylist()
    assert found["responses"] == len(table) == 36
    assert found["generated_tokens"] == sum(line["spent_tokens"] for line in table)
    assert found["mean_length"] == pytest.approx(sum(len(line["token_ids"]) for line in table) / 36)
    assert found["generated_tokens"] > 3 * 36 * found["mean_length"]


# --- with judgments -------------------------------------------------------------------------------------------------


def test_positive_judgment_asks_the_prompt_with_praise_in_it(world: dict[str, Path], tmp_path: Path) -> None:
    rows = Judged().rows("prompts", "test")
    praised = [{**row, "prompt": Judged().judged(row["prompt"], None)} for row in rows]
    assert all(row["prompt"][0]["content"].endswith("w19 w18") for row in praised)
    found = answers(tmp_path, world, {"name": "positive_judgment"})
    asked = answers(tmp_path, world, PLAIN, rows=praised)
    plain = answers(tmp_path, world, PLAIN)
    assert [said(line) for line in found.values()] == [said(line) for line in asked.values()]
    assert [said(line) for line in found.values()] != [said(line) for line in plain.values()]
    for place, line in found.items():
        assert line["spent_tokens"] == len(line["token_ids"])
        assert line["prompt_hash"] == plain[place]["prompt_hash"], "the answer is to the plain prompt"


def test_a_second_try_is_made_where_the_judge_finds_fault(world: dict[str, Path], tmp_path: Path) -> None:
    first, found = (answers(tmp_path, world, {"name": name}) for name in ("plain", "respond_judge_respond"))
    model, tokenizer = small_policy()
    prompts = {row["prompt_id"]: row["prompt"] for row in Judged().rows("prompts", "test")}
    blamed = 0
    for (prompt_id, k), line in found.items():
        own = first[prompt_id, k]
        judgment = Judged().judge(prompts[prompt_id], own["response"])
        assert line["prompt_hash"] == prompt_hash(render_prompt(tokenizer, prompts[prompt_id]))
        if judgment is None:
            assert line == own, "as if nobody had asked the judge"
            continue
        blamed += 1
        talk = [
            *prompts[prompt_id],
            {"role": "assistant", "content": own["response"]},
            {"role": "user", "content": f"w17 {own['response'].split()[0]}"},
        ]
        (second,) = sample(
            model, [render_prompt(tokenizer, talk)], [noise("replicate-0 again", prompt_id, k, 6)],
            end_id=end_token(tokenizer), pad_id=tokenizer.pad_token_id, temperature=1.0, batch=1,
        )  # fmt: skip
        assert (line["token_ids"], line["end"]) == (second.token_ids, second.end)
        assert line["logps"] == pytest.approx(second.logps, abs=1e-4)
        assert line["spent_tokens"] == len(own["token_ids"]) + len(second.token_ids)
    assert 5 < blamed < 31


def test_what_nobody_blames_is_what_plain_says(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judged, "judge", lambda *_: None)
    both = [answers(tmp_path, world, {"name": name}) for name in ("plain", "respond_judge_respond")]
    assert both[0] == both[1]


@pytest.mark.parametrize("name", ["positive_judgment", "respond_judge_respond"])
def test_judged_systems_do_not_depend_on_the_batch(world: dict[str, Path], tmp_path: Path, name: str) -> None:
    once, again = (answers(tmp_path, world, {"name": name}, batch=batch) for batch in (8, 5))
    assert [line["token_ids"] for line in once.values()] == [line["token_ids"] for line in again.values()]


def test_each_system_has_draws_of_its_own(world: dict[str, Path], pool: list[Table]) -> None:
    for one, other in itertools.combinations(pool, 2):
        assert sum(one[place]["token_ids"] == other[place]["token_ids"] for place in one) < 12


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("procedure", "message"),
    [
        ({"name": "best_of_n"}, "'best_of_n' takes n; it was given nothing"),
        ({"name": "best_of_n", "N": 4}, "'best_of_n' takes n; it was given N"),
        ({"name": "best_of_n", "n": 4, "seed": 1}, "'best_of_n' takes n; it was given n, seed"),
        ({"name": "positive_judgment", "n": 4}, "'positive_judgment' takes no options; it was given n"),
        ({"name": "respond_judge_respond", "rounds": 2}, "'respond_judge_respond' takes no options; it was given rou"),
        ({"name": "best_of"}, "there is no inference procedure 'best_of'; did you mean 'best_of_n'"),
        ({"n": 4}, "known: plain, best_of_n, positive_judgment, respond_judge_respond"),
    ],
)
def test_wrong_options_are_refused(
    world: dict[str, Path], tmp_path: Path, procedure: dict[str, Any], message: str
) -> None:
    with pytest.raises(HarnessError, match=message):
        answers(tmp_path, world, procedure)
    assert not (tmp_path / "samples.parquet").exists()


@pytest.mark.parametrize("procedure", [PLAIN, {"name": "positive_judgment"}])
def test_prompts_that_leave_no_room_for_a_response_are_refused_and_counted(
    world: dict[str, Path], tmp_path: Path, procedure: dict[str, Any]
) -> None:
    shutil.copytree(world["policy"], tmp_path / "short")
    config = tmp_path / "short" / "policy" / "config.json"
    tokenizer = open_policy(tmp_path / "short" / "policy")[1]
    asked = [row["prompt"] for row in Judged().rows("prompts", "test")]
    if procedure != PLAIN:
        asked = [Judged().judged(prompt, None) for prompt in asked]
    lengths = [len(render_prompt(tokenizer, prompt)) for prompt in asked]
    room = max(lengths) + 6
    for positions in (room, room - 1):
        config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": positions}))
        inputs = {"policy": tmp_path / "short"}
        if positions == room:
            assert answers(tmp_path / "out", inputs, procedure)
            continue
        told = (
            f"{lengths.count(max(lengths))} of {len(set(map(str, asked)))} prompts to answer leave no room for "
            f"budget.max_response_tokens = 6 in the {positions} tokens that the model reads, the longest has "
            f"{max(lengths)}; take them out of the data, "
        )
        with pytest.raises(HarnessError, match=f"^{re.escape(told)}") as refused:
            answers(tmp_path / "none", inputs, procedure)
        assert classify(refused.value) == "bad data"
        assert not (tmp_path / "none" / "samples.parquet").exists()


def test_a_model_without_a_limit_reads_any_prompt() -> None:
    check_lengths([10**6], 6, None)


# --- metrics --------------------------------------------------------------------------------------------------------


def graded(out: Path, world: dict[str, Path], procedure: dict[str, Any], *, moved: bool, **changed: Any) -> set[str]:
    """Metrics that a Grade of a system gives, where its policy is the cell's start and where it has moved from it."""
    inputs = world | {"sample": out, "start": world["start" if moved else "policy"]}
    answers(out, world, procedure, **changed)
    stage = grade_stage(sample_stage(POLICY, procedure=procedure, **changed), START if moved else POLICY)
    measured = {m.metric: m for m in grade(out, inputs, Judged(), stage)}
    rows = pq.read_table(out / "scores.parquet").to_pylist()
    assert {row["metric"] for row in rows} == {name.split("/")[0] for name in measured}
    assert all(math.isfinite(row["value"]) for row in rows)
    kl = [row["value"] for row in rows if row["metric"] == "kl"]
    if procedure["name"] == "best_of_n" and kl:
        n = procedure["n"]
        assert kl == [pytest.approx(math.log(n) - (n - 1) / n, abs=1e-12)] * 36
        assert (measured["kl"].n, measured["kl"].unit) == (36, "nats/response")
    return set(measured)


NOT_OF_SYSTEMS = {"kl", "kl_per_token", "entropy"}


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("name", ["positive_judgment", "respond_judge_respond"])
def test_a_divergence_that_nobody_knows_is_an_absent_row(
    world: dict[str, Path], tmp_path: Path, name: str, moved: bool
) -> None:
    plain = graded(tmp_path, world, PLAIN, moved=moved)
    assert plain > NOT_OF_SYSTEMS
    assert graded(tmp_path, world, {"name": name}, moved=moved) == plain - NOT_OF_SYSTEMS


def test_the_divergence_of_best_of_n_is_its_bound_where_it_is_the_starts(
    world: dict[str, Path], tmp_path: Path
) -> None:
    plain = graded(tmp_path, world, PLAIN, moved=False)
    for n in (2, 4):
        procedure = {"name": "best_of_n", "n": n}
        assert graded(tmp_path, world, procedure, moved=False) == plain - {"kl_per_token", "entropy"}
    assert graded(tmp_path, world, procedure, moved=True) == plain - NOT_OF_SYSTEMS, "it is not the start's best of n"
    hot = {"moved": False, "temperature": 0.7}
    assert graded(tmp_path, world, procedure, **hot) == plain - NOT_OF_SYSTEMS, "the bound is on the sampled policy's"


@pytest.mark.parametrize("temperature", [0.5, 0.0])
def test_the_divergence_of_samples_at_another_temperature_is_an_absent_row(
    world: dict[str, Path], tmp_path: Path, temperature: float
) -> None:
    plain = graded(tmp_path, world, PLAIN, moved=True)
    assert graded(tmp_path, world, PLAIN, moved=True, temperature=temperature) == plain - NOT_OF_SYSTEMS


def test_hindsight_is_measured_where_it_is_asked_plainly() -> None:
    hindsight = registry.load("algorithms", "hindsight")
    assert hindsight(asked="plain").procedure() == PLAIN
    assert hindsight().procedure() == {"name": "positive_judgment"}


def bound(n: int) -> float:
    """What the metric says of best of n."""
    stage = grade_stage(sample_stage(POLICY, procedure={"name": "best_of_n", "n": n}), POLICY)
    bench = GradeBench({}, Judged(), stage)
    bench.responses = [Response("p", 0, [], [], "", [], "eos")]
    (value,) = registry.load("metrics", "kl")().values(bench)
    return float(value.value)


def divergence_of_best(chances: list[float], worth: list[float], n: int) -> float:
    """KL of the first of the best of n, over all choices of n of a few responses."""
    best = np.zeros(len(chances))
    for drawn in itertools.product(range(len(chances)), repeat=n):
        best[max(drawn, key=lambda i: worth[i])] += math.prod(chances[i] for i in drawn)
    assert best.sum() == pytest.approx(1)
    return float(sum(p * math.log(p / q) for p, q in zip(best, chances, strict=True) if p > 0))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_best_of_n_moves_no_further_than_the_bound(n: int) -> None:
    random = np.random.default_rng(n)
    for size in (2, 3, 6):
        for _ in range(4):
            chances = random.dirichlet(np.full(size, 0.7)).tolist()
            for worth in (random.permutation(size).tolist(), random.integers(0, 2, size).tolist(), [1.0] * size):
                assert divergence_of_best(chances, worth, n) <= bound(n) + 1e-12
    assert divergence_of_best([0.25] * 4, [1.0] * 4, n) == pytest.approx(0, abs=1e-12), "ties move nothing"


def test_the_bound_is_reached_where_responses_are_many() -> None:
    for n in (2, 4, 8):
        ends = np.linspace(0, 1, 100_001)
        best = np.diff(ends**n)
        assert float((best * np.log(best * 100_000)).sum()) == pytest.approx(bound(n), abs=1e-4)
