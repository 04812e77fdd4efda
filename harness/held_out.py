"""What a plan adds so that its judges can be trusted: audits, the proof of separation, and what the graph itself shows.

Pure, like the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.stages import Audit, Grade, Ready, Sample, Separation, Stage, Train, walk

if TYPE_CHECKING:
    from harness.recipe import Recipe

READERS = (Grade, Audit, Separation)
"""Kinds of stages that may read the gold reward model: what is reported, and what reports on gold."""
EVALUATION = ("heldout", "tune", "test", "ood")
PROBED = 128
"""Pairs that are corrupted, rankings, and prompts of the start's samples that an audit scores."""
Rewards = Mapping[str, Stage]
"""Reward models by role."""


@dataclass(frozen=True)
class Audits:
    """The stages on which trust in the judges of one model and dataset rests.

    Attributes:
        cards: audits by role; of the proxy the first replicate's, the others differ from it by their seed.
        separation: None where there is no gold reward model.
    """

    cards: Mapping[str, Audit] = field(default_factory=dict)
    separation: Separation | None = None

    @property
    def stages(self) -> list[Stage]:
        """All of them."""
        return [*self.cards.values(), *([self.separation] if self.separation else [])]


def audits(recipe: Recipe, dataset: dict[str, Any], rewards: Sequence[Rewards], starts: Sequence[Sample]) -> Audits:
    """The audits of a setting.

    Args:
        recipe: for its rules and sizes.
        dataset: the dataset's spec.
        rewards: reward models by role, of each replicate.
        starts: plain samples of the starts that can be made, the first replicate's first.
    """
    if not starts or "gold" not in rewards[0]:
        return Audits()
    asked = recipe.evaluation
    rules = {role: part.rule for role, part in recipe.rewards.items() if part.rule}
    cards = {}
    for role in (role for role in recipe.rewards if role in rewards[0] or role in rules):
        model = {} if role in rules else {"reward": rewards[0][role]}
        cards[role] = Audit(
            {**model, "sample": starts[0]},
            dataset=dataset,
            pairs=asked.audit_pairs,
            probed=PROBED,
            batch=asked.score_batch,
            threads=asked.threads,
            rule=rules.get(role),
        )
    return Audits(cards, Separation(_models(rewards, starts), dataset=dataset, sets=_sets(recipe, rewards[0])))


def _models(rewards: Sequence[Rewards], starts: Sequence[Sample]) -> dict[str, Stage]:
    """Every reward model and every start, each once."""
    found: dict[str, Stage] = {role: rewards[0][role] for role in ("gold", "selection") if role in rewards[0]}
    found |= {f"proxy-{number}": own["proxy"] for number, own in enumerate(rewards) if "proxy" in own}
    found |= {f"start-{number}": sample.inputs["policy"] for number, sample in enumerate(starts)}
    seen: dict[tuple[str, str], str] = {}
    for name, stage in found.items():
        seen.setdefault((name.split("-")[0], stage.name), name)
    return {name: found[name] for name in seen.values()}


def _sets(recipe: Recipe, rewards: Rewards) -> dict[str, list[str]]:
    """Splits by the name of their set; what the proxy trains on may be the policies' own."""
    trained = {role: recipe.rewards[role].split for role, stage in rewards.items() if isinstance(stage, Train)}
    sets = {"policies and proxy": ["train", *([trained["proxy"]] if "proxy" in trained else [])]}
    sets |= {role: [trained[role]] for role in ("selection", "gold") if role in trained}
    return {**sets, **{split: [split] for split in EVALUATION}}


@dataclass(frozen=True)
class Check:
    """One guarantee.

    Attributes:
        what: the guarantee.
        passed: None where it cannot be known.
        detail: what was seen.
    """

    what: str
    passed: bool | None
    detail: str


def graph_checks(recipe: Recipe, stages: Sequence[Stage], rewards: Sequence[Rewards]) -> Iterator[Check]:
    """What the graph of stages says of the gold reward models of one setting."""
    gold = {own["gold"].name for own in rewards if "gold" in own}
    readers = [stage for stage in stages if gold & {needed.name for needed in stage.inputs.values()}]
    wrong = [stage.name for stage in readers if not isinstance(stage, READERS)]
    seen = f"{len(readers)} stages read it" + (f"; {', '.join(wrong)} may not" if wrong else ", none of which trains")
    yield Check("gold is read by grading and audits alone", not wrong, seen)
    shared = sorted(_bases([own["gold"] for own in rewards]) & _bases(_others(stages, gold)))
    ready = all(isinstance(own["gold"], Ready) for own in rewards)
    apart = "it is ready-made, and no other stage begins from it" if ready else "no training is behind both"
    detail = f"both rest on {', '.join(shared)}" if shared else apart
    yield Check("gold has a base of its own", not shared, detail)
    roles = list(recipe.shared_rewards)
    yield Check("each role has a reward model of its own", not roles, "; ".join(roles) or "no model fills two roles")
    unknown = [role for role in rewards[0] if isinstance(rewards[0][role], Ready)]
    if unknown:
        what = f"what {' and '.join(unknown)} trained on is apart from the prompts here"
        yield Check(what, None, "a ready-made model does not say what it was trained on")


def _bases(stages: Sequence[Stage]) -> set[str]:
    """Trainings, their own included, that stages rest on."""
    return {stage.name for stage in walk(list(stages)) if isinstance(stage, Train | Ready)}


def _others(stages: Sequence[Stage], gold: set[str]) -> list[Stage]:
    """Everything trained that is not part of gold's own making, and every policy that answers."""
    below = {stage.name for stage in walk([stage for stage in stages if stage.name in gold])}
    trained = [stage for stage in stages if isinstance(stage, Train | Ready) and stage.name not in below]
    return [*trained, *(stage.inputs["policy"] for stage in stages if isinstance(stage, Sample))]
