"""Results folders of comparisons that never ran: records, scores, samples and curves with a known truth."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.job import Budget
from harness.launch import Launch
from harness.plan import Cell, Plan
from harness.recipe import Evaluation, Recipe
from harness.stages import Bench, Grade, Reference, Sample, Stage, Train, walk

DATASET = {"source": "nowhere", "version": 1, "knobs": {}}


def train(algorithm: str, seed: str, start: Train | None = None, **more: Any) -> Train:
    inputs: dict[str, Stage] = {**({"start": start} if start else {}), **more.pop("inputs", {})}
    spec = {"name": algorithm, "version": 1, "knobs": more.pop("knobs", {})}
    return Train(inputs, algorithm=spec, dataset=DATASET, split=more.pop("split", "train"),
                 budget=more.pop("budget", {}), seed=seed)  # fmt: skip


def make_cells(
    contestants: list[str],
    replicates: int,
    *,
    model: str = "lab",
    steps: tuple[int, ...] = (),
    cut: dict[str, str] | None = None,
    best_of: int = 8,
    budget: dict[str, Any] | None = None,
) -> list[Cell]:
    """A start and contestants, with the stages that a plan would have."""
    base = train("pretrain", f"pretrain-0-{model}")
    gold = train("reward", "gold", train("pretrain", f"pretrain-1-{model}"), split="gold")
    cells = []
    for r in range(replicates):
        seed = f"replicate-{r}"
        start = train("sft", seed, base)
        reference = Reference({"start": start}, dataset=DATASET, split="train", budget={})
        policies = {"sft": start} | {
            name: train(
                name.split()[0],
                seed,
                start,
                inputs={"reference": reference},
                knobs={"label": name},
                budget=budget or {},
            )
            for name in contestants
        }
        for name, policy in policies.items():
            samples: dict[int | None, Sample] = {}
            grades: dict[int | None, Grade] = {}
            for step in (None, *(steps if name != "sft" else ())):
                samples[step] = Sample(
                    {"policy": policy}, dataset=DATASET, split="test", prompts=8, samples=2, temperature=1.0,
                    max_response_tokens=8, procedure={"name": "plain"}, seed=seed, batch=8, threads=1, step=step,
                )  # fmt: skip
                grades[step] = Grade(
                    {"sample": samples[step], "policy": policy, "start": start, "gold": gold},
                    dataset=DATASET, metrics={"reward": 1}, pairs=4, batch=8, threads=1, step=step,
                )  # fmt: skip
            pool = None
            if name == "sft" and best_of:
                many = replace(samples[None], samples=best_of, prompts=4)
                pool = replace(grades[None], inputs={**grades[None].inputs, "sample": many})
            reason = (cut or {}).get(name, "")
            knobs: dict[str, Any] = {} if " " not in name else {"beta": 0.1}
            cells.append(
                Cell(
                    contestant=name,
                    algorithm=name.split()[0],
                    knobs=knobs,
                    model=model,
                    dataset="lab",
                    start="sft",
                    replicate=r,
                    is_start=name == "sft",
                    trained=None if reason else policy,
                    own=() if reason else (policy,),
                    samples={} if reason else samples,
                    grades={} if reason else grades,
                    reason=reason,
                    pool=pool,
                )
            )
    return cells


def _cost(seconds: float) -> dict[str, Any]:
    memory = {"peak_memory_bytes": 500 * 2**20, "loaded_memory_bytes": 400 * 2**20}
    return {"device_seconds": seconds, "devices": 1, "device": "cpu", "cpu_seconds": seconds, **memory}


MADE_BY = {
    **{"commit": "abc1234", "dirty": False, "harness": "0.1", "python": "3.11", "packages": {"torch": "2.13.0"}},
    **{"host": "here", "command": "harness run"},
}


def record(
    root: Path,
    stage: Stage,
    seconds: float = 2.0,
    measurements: list[dict[str, Any]] | None = None,
    failed_device_seconds: float = 0.0,
    **files: pa.Table,
) -> None:
    """A finished stage."""
    folder = root / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in files.items():
        pq.write_table(table, folder / f"{name}.parquet")
    body = {
        **{"schema": 1, "name": stage.name, "spec": stage.spec, "status": "done", "measurements": measurements or []},
        **{"started": "2026-11-01T00:00:00Z", "seconds": seconds, "cost": _cost(seconds), "made_by": MADE_BY},
        **{"files": {}, "attempt": 1, "failed_device_seconds": failed_device_seconds},
    }
    (folder / "record.json").write_text(json.dumps(body))


def fail(root: Path, stage: Stage, cause: str, error: str = "it broke", hint: str = "try less") -> None:
    """A stage that failed."""
    folder = root / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    body = {
        **{"schema": 1, "name": stage.name, "cause": cause, "error": error, "hint": hint, "traceback": ""},
        **{"seconds": 1.0, "cost": _cost(1.0), "attempt": 1, "made_by": MADE_BY},
    }
    (folder / "failed.json").write_text(json.dumps(body))


@dataclass(frozen=True)
class World:
    """The truth behind synthetic scores; all in raw reward units, in which the start has mean 1 and sd 2 in all."""

    gains: dict[str, float]
    prompts: int = 12
    samples: int = 2
    sd_seed: float = 0.1
    sd_shared: float = 0.0
    sd_prompt: float = 1.0
    sd_cell: float = 0.2
    sd_sample: float = 1.5
    seed: int = 0
    oracle_sign: float = 1.0
    response: str = "a response"
    tokens_by_length: dict[str, float] | None = None
    """Contestants whose gold is worth this much more for each token, and that write 8 tokens more."""
    way: dict[int, tuple[float, float, float]] | None = None
    """By step, 0 for the end: more gold, how far the proxy is ahead of gold, and KL, of all but the start."""
    more: bool = False
    """Also metrics of prompts, of whole runs and of greedy responses."""
    distinct: bool = False
    """Also distinct n-grams."""

    def scores(self, cell: Cell, step: int | None) -> pa.Table:
        """One cell's scores: gold, oracle, length, KL, and a metric of pairs."""
        shared = np.random.default_rng(self.seed).normal(0, self.sd_prompt, self.prompts)
        own = np.random.default_rng([self.seed, cell.replicate, sum(map(ord, cell.contestant)), step or 0])
        gain = self.gains.get(cell.contestant, 0.0)
        further, ahead, far = (self.way or {}).get(step or 0, (0.0, 0.0, gain + 1)) if not cell.is_start else (0, 0, 0)
        gain += further
        gain_of_seed = np.random.default_rng([self.seed, cell.replicate]).normal(0, 1) * self.sd_shared
        run = gain + gain_of_seed + own.normal(0, self.sd_seed) + shared + own.normal(0, self.sd_cell, self.prompts)
        gold = 1 + run[:, None] + own.normal(0, self.sd_sample, (self.prompts, self.samples))
        by_metric = {
            ("reward", "gold"): gold,
            ("reward", "oracle"): self.oracle_sign * gold + 0.1 * own.normal(0, 1, gold.shape),
        }
        by_metric["length", ""] = own.integers(5, 20, gold.shape).astype(float)
        if cell.contestant in (self.tokens_by_length or {}):
            by_metric["length", ""] += 8
        worth = max((self.tokens_by_length or {"": 0.0}).values())
        by_metric["reward", "gold"] = gold + worth * by_metric["length", ""]
        by_metric["kl", ""] = np.zeros(gold.shape) if cell.is_start else np.abs(own.normal(far, 0.1, gold.shape))
        if self.way:
            by_metric["reward", "proxy"] = gold + ahead + own.normal(0, 0.1, gold.shape)
        prompt = [f"p{p}" for p in range(self.prompts) for _ in range(self.samples)]
        k = [k for _ in range(self.prompts) for k in range(self.samples)]
        parts = [
            _score_table(metric, role, "sample", prompt, k, values.ravel())
            for (metric, role), values in by_metric.items()
        ]
        pairs = own.integers(0, 2, 6).astype(float)
        parts += self._more(own, gold) if self.more else []
        parts.append(_score_table("preference_accuracy", "", "pair", [f"pair{i}" for i in range(6)], [-1] * 6, pairs))
        if self.distinct:
            prompts = [f"p{p}" for p in range(self.prompts)]
            varied = own.uniform(0.4, 0.8, self.prompts)
            parts.append(_score_table("distinct", "", "prompt", prompts, [-1] * self.prompts, varied))
        return pa.concat_tables(parts)

    def _more(self, own: np.random.Generator, gold: np.ndarray) -> list[pa.Table]:
        prompts = [f"p{p}" for p in range(self.prompts)]
        whole, responses = [-1] * self.prompts, [p for p in prompts for _ in range(self.samples)]
        each = [k for _ in prompts for k in range(self.samples)]
        return [
            _score_table("greedy", "gold", "prompt", prompts, whole, gold.mean(1) + own.normal(0, 0.1, self.prompts)),
            _score_table("self_bleu", "", "prompt", prompts, whole, own.uniform(10, 60, self.prompts)),
            _score_table("distinct_across", "", "corpus", [""], [-1], own.uniform(0.4, 0.6, 1)),
            _score_table("truncated", "", "sample", responses, each, own.integers(0, 2, gold.size).astype(float)),
            _score_table("empty", "", "sample", responses, each, np.zeros(gold.size)),
        ]

    def many(self, cell: Cell) -> pa.Table:
        """Gold and proxy of the start's many responses; the proxy is gold with noise."""
        assert cell.pool is not None
        sample = cell.pool.inputs["sample"].settings()
        own = np.random.default_rng([self.seed, cell.replicate, 7])
        gold = 1 + own.normal(0, 2, (sample["prompts"], sample["samples"]))
        prompt = [f"p{p}" for p in range(len(gold)) for _ in gold[p]]
        k = [k for row in gold for k in range(len(row))]
        rewards = {"gold": gold, "proxy": gold + own.normal(0, 2, gold.shape)}
        return pa.concat_tables(
            [_score_table("reward", role, "sample", prompt, k, one.ravel()) for role, one in rewards.items()]
        )

    def sampled(self, cell: Cell) -> pa.Table:
        rows = [(f"p{p}", k) for p in range(self.prompts) for k in range(self.samples)]
        return pa.table({
            "prompt_id": [p for p, _ in rows], "k": [k for _, k in rows], "step": [-1] * len(rows),
            "prompt_hash": ["h"] * len(rows), "token_ids": [[1, 2, 3]] * len(rows),
            "response": [f"{self.response} of {cell.contestant} to {p}" for p, _ in rows],
            "logps": [[-0.1] * 3] * len(rows), "end": ["eos"] * len(rows),
        })  # fmt: skip

    def curves(self) -> pa.Table:
        rows = [(step, metric, 1.0 / step) for step in range(1, 61) for metric in ("loss", "rewards/margins")]
        return pa.table({name: [row[i] for row in rows] for i, name in enumerate(("step", "metric", "value"))})


def _score_table(metric: str, role: str, level: str, prompt: list[str], k: list[int], values: np.ndarray) -> pa.Table:
    n = len(prompt)
    return pa.table(
        {
            "metric": [metric] * n,
            "role": [role] * n,
            "level": [level] * n,
            "prompt_id": prompt,
            "k": pa.array(k, pa.int32()),
            "value": values,
        }
    )


def fill(root: Path, cells: list[Cell], world: World, skip: set[tuple[str, int]] = frozenset()) -> None:  # type: ignore[assignment]  # empty
    """Records for all stages of the cells but those in `skip` (contestant, replicate)."""
    for cell in cells:
        if cell.reason or (cell.contestant, cell.replicate) in skip:
            continue
        for step, grade in cell.grades.items():
            for stage in walk([grade]):
                if not (root / stage.name / "record.json").exists():
                    record(root, stage)
            record(root, cell.samples[step], samples=world.sampled(cell))
            record(root, grade, scores=world.scores(cell, step))
        if cell.pool is not None:
            record(root, cell.pool.inputs["sample"])
            record(root, cell.pool, scores=world.many(cell))
        spent = {"metric": "trained_tokens", "value": 10.0, "n": 1, "unit": "tokens", "better": ""}
        record(root, cell.policy, seconds=3.0, measurements=[spent], curves=world.curves())


def benched(root: Path, cell: Cell, right: np.ndarray, task: str = "t", metric: str = "acc", asks: str = "x") -> Cell:
    """The cell with one more finished benchmark, by document right or wrong; `asks` tells its documents from others."""
    assert cell.policy is not None
    stage = Bench({"policy": cell.policy}, lm_eval="0.4.11", tasks=[task], chat=True, batch=1, threads=1)
    documents = [f"{i}-{asks}" for i in range(len(right))]
    found = _score_table(metric, task, "document", documents, [-1] * len(right), right.astype(float))
    record(root, stage, scores=found)
    return replace(cell, benches=(*cell.benches, stage))


def make_plan(
    cells: list[Cell], replicates: int, margin: float = 0.1, paired: bool = True, metrics: tuple[str, ...] = ()
) -> Plan:
    """A plan of these cells."""
    text = 'name = "synthetic"'
    recipe = Recipe(
        *(
            "synthetic",
            "Which one?",
            replicates,
            (),
            (),
            (),
            Budget(),
            Evaluation(margin=margin, paired=paired, metrics=metrics),
        ),
        *({}, (), Launch(), Path("recipes/synthetic.toml"), text),
    )
    return Plan(recipe, tuple(cells), {})
