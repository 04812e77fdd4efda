"""The stages that judge policies: samples, grades, judges and benchmarks. Pure, like the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.judges import judge_spec
from harness.stages import Bench, Grade, Judge, Sample, Stage, Train

if TYPE_CHECKING:
    from harness.layout import Layout, Policies


class Judging:
    """What is asked of the policies of one model and one dataset."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.asked = layout, layout.recipe.evaluation

    @cached_property
    def _metrics(self) -> dict[str, int]:
        return {name: registry.load("metrics", name).version for name in self.asked.metrics}

    @cached_property
    def _lm_eval(self) -> str:
        return version("lm_eval")

    def judged(self, policies: Policies, baseline: Train, replicate: int, procedure: dict[str, Any]) -> dict[str, Any]:
        """Samples and grades of policies."""
        samples = {at: self._sample(policy, replicate, step, procedure) for at, (policy, step) in policies.items()}
        greedy = self._greedy(samples[None])
        grades = {
            at: self._grade(samples[at], policy, baseline, replicate, step, {} if at else greedy)
            for at, (policy, step) in policies.items()
        }
        return {"samples": samples, "grades": grades}

    def verdicts(self, sample: Sample, baseline: Train, replicate: int) -> dict[str, Judge]:
        """Each judge's choice between a system's samples and the start's, by the judge's label."""
        start_sample = self._sample(baseline, replicate, None, {"name": "plain"})
        return {
            part.label: Judge(
                {"sample": sample, "start_sample": start_sample},
                dataset=self.layout.spec,
                judge=judge_spec(part.source, dict(part.knobs)),
                threads=self.asked.threads,
                template=part.template or None,
                prompts=part.prompts or None,
                asking=dict(part.asking),
            )
            for part in self.layout.recipe.judges
        }

    def pool(self, start: Train, replicate: int) -> Grade | None:
        """Scores of many responses of the start to a few prompts: what its best-of-n curve is computed from.

        The proxy chooses and gold judges; selection has nothing to say there.
        """
        chooses = self.layout.recipe.rewards["proxy"].rule or "proxy" in self.layout.rewards(replicate)
        if self.asked.best_of < 2 or not chooses:
            return None
        plain = self._sample(start, replicate, None, {"name": "plain"})
        prompts = min(self.asked.best_of_prompts, self.asked.prompts)
        sample = replace(plain, samples=self.asked.best_of, prompts=prompts, temperature=1.0)
        grade = self._grade(sample, start, start, replicate, None, {})
        inputs = {role: stage for role, stage in grade.inputs.items() if role != "selection"}
        return replace(grade, inputs=inputs, metrics={"reward": registry.load("metrics", "reward").version})

    def _greedy(self, sample: Sample) -> dict[str, Stage]:
        """The one greedy response to each prompt; best-of-n has none, since its candidates would all be equal."""
        wanted = self.asked.greedy and any(registry.load("metrics", name).greedy for name in self.asked.metrics)
        if not wanted or sample.procedure["name"] == "best_of_n":
            return {}
        return {"greedy": replace(sample, samples=1, temperature=0.0)}

    def _sample(self, policy: Train, replicate: int, step: int | None, procedure: dict[str, Any]) -> Sample:
        proxy, rule = self.layout.proxy(replicate) if procedure["name"] == "best_of_n" else ({}, None)
        return Sample(
            {"policy": policy, **proxy},
            dataset=self.layout.spec,
            split=self.asked.split,
            prompts=self.asked.prompts,
            samples=self.asked.samples,
            temperature=self.asked.temperature,
            max_response_tokens=self.layout.recipe.budget.max_response_tokens,
            procedure=procedure,
            seed=f"replicate-{replicate}",
            batch=self.asked.batch,
            threads=self.asked.threads,
            step=step,
            rule=rule,
        )

    def _grade(
        self, sample: Sample, policy: Train, baseline: Train, replicate: int, step: int | None,
        greedy: Mapping[str, Stage],
    ) -> Grade:  # fmt: skip
        return Grade(
            {**greedy, "sample": sample, "policy": policy, "start": baseline, **self.layout.rewards(replicate)},
            dataset=self.layout.spec,
            metrics=self._metrics,
            pairs=self.asked.pairs,
            batch=self.asked.score_batch,
            threads=self.asked.threads,
            step=step,
            rules={role: part.rule for role, part in self.layout.recipe.rewards.items() if part.rule} or None,
        )

    def benches(self, policy: Train) -> tuple[Bench, ...]:
        """The recipe's lm-eval tasks, asked of a final policy; a dataset's own tasks are asked on that dataset."""
        return tuple(
            Bench(
                {"policy": policy},
                lm_eval=self._lm_eval,
                tasks=list(one.tasks),
                chat=one.chat,
                batch=one.batch,
                threads=self.asked.threads,
                shots=None if one.shots < 0 else one.shots,
                limit=one.limit or None,
                source=self.layout.spec if one.own else None,
                **one.folder,
            )
            for one in self.layout.recipe.benchmarks
            if not one.own or set(one.tasks) <= set(self.layout.kind.tasks)
        )
