"""Whether the judges can be trusted: guarantees, the gate, and what follows for the verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.held_out import Check, graph_checks
from harness.records import setting_of
from harness.records.evidence import read_evidence
from harness.report.sheet import count, interval, listed, number
from harness.trust.card import Card, make_card
from harness.trust.gate import MOST_KAPPA, Kappa, digits_of, kappa, objections

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.records.evidence import Evidence
    from harness.report.compare import Comparison
    from harness.store import Store


JUDGES = ("gold", "selection", "proxy")


@dataclass(frozen=True)
class Trust:
    """Of one model and dataset.

    Attributes:
        label: `model · dataset`.
        cards: by role.
        kappa: of gold's errors and the proxy's, where both have been audited.
        objections: why gold does not pass the gate.
        checks: the guarantees; none where there is no gold reward model.
        missing: what has not been found out.
        shared: reward models that fill two roles, as the recipe allows.
        prompts: those of the guarantees that are about two sets of prompts.
    """

    label: str
    cards: dict[str, Card] = field(default_factory=dict)
    kappa: Kappa | None = None
    objections: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    shared: tuple[str, ...] = ()
    prompts: list[Check] = field(default_factory=list)

    @property
    def held_out(self) -> bool:
        """Whether every guarantee has been shown; only then may gold be called so."""
        return bool(self.checks) and not self.missing and all(check.passed for check in self.checks)

    @property
    def caveats(self) -> list[str]:
        """Why the verdicts are one grade lower; none where nothing is known against gold."""
        broken = [f"{check.what}: no ({check.detail})" for check in self.checks if check.passed is False]
        unknown = [f"{check.what}: not known ({check.detail})" for check in self.checks if check.passed is None]
        return [*self.objections, *broken, *unknown]

    @property
    def sentence(self) -> str:
        """The conclusion."""
        if not self.cards and not self.checks:
            return "There is no gold reward model whose trust could be measured."
        if self.missing:
            return f"Whether gold can be trusted is not known yet: {'; '.join(self.missing)}."
        if self.caveats:
            return f"Gold is not to be trusted alone, and every verdict is one grade lower: {'; '.join(self.caveats)}."
        accuracy = self.cards["gold"].accuracy
        right = f"{number(accuracy.value)} [{number(accuracy.low)}, {number(accuracy.high)}]" if accuracy else "—"
        errors = f", shares few errors with the proxy (κ {number(self.kappa.value)})" if self.kappa else ""
        return f"Gold is held-out, orders {right} of labelled pairs as they are labelled, passes every probe{errors}."


def trusts(plan: Plan, store: Store) -> dict[tuple[str, str], Trust]:
    """Trust by (model, dataset)."""
    found = {}
    for setting, evidence in read_evidence(plan, store).items():
        rewards = [own for (*where, _), own in plan.rewards.items() if tuple(where) == setting]
        separation = plan.audits[setting].separation
        checks = list(graph_checks(plan.recipe, plan.stages(), rewards)) if separation else []
        cards = {role: make_card(evidence.scores[role]) for role in JUDGES if role in evidence.scores}
        shared, prompts = _kappa(evidence), list(_prompts(evidence))
        found[setting] = Trust(
            label=" · ".join(setting),
            cards=cards,
            kappa=shared,
            objections=objections(cards["gold"], shared) if "gold" in cards else [],
            checks=[*checks, *_weights(evidence), *prompts],
            missing=evidence.missing,
            shared=plan.recipe.shared_rewards,
            prompts=prompts,
        )
    return found


def _kappa(evidence: Evidence) -> Kappa | None:
    scores = evidence.scores
    if not {"gold", "proxy"} <= set(scores):
        return None
    return kappa(scores["gold"], scores["proxy"], scores.get("selection"))


def _weights(evidence: Evidence) -> Iterator[Check]:
    """One guarantee for each pair of roles of which one is a reward model."""
    if evidence.weights is None or evidence.weights.empty:
        return
    frame = evidence.weights.assign(**{side: evidence.weights[side].map(_role) for side in ("one", "other")})
    for (one, other), rows in frame[frame["one"] != frame["other"]].groupby(["one", "other"], sort=False):
        common = int(rows["shared"].sum())
        example = next((text for text in rows["example"] if text), "")
        seen = (
            f"{common} tensors are equal, {example} for one"
            if common
            else f"{count(len(rows), 'pair')}, no tensor is equal"
        )
        yield Check(f"{one} and {other} share no weights", not common, seen)


def _role(name: str) -> str:
    role = name.split("-")[0]
    return "the policies' start" if role == "start" else role


def _prompts(evidence: Evidence) -> Iterator[Check]:
    """One guarantee for each pair of prompt sets."""
    if evidence.prompts is None:
        return
    for row in evidence.prompts.to_dict("records"):
        what = f"prompts of {_set(row['one'])} and of {_set(row['other'])} are apart"
        seen = f"{row['equal']} equal and {row['near']} near duplicates of {row['of']}"
        yield Check(what, bool(row["apart"]), seen + (f", such as {row['example']!r}" if not row["apart"] else ""))


def _set(name: str) -> str:
    return {"heldout": "labelled pairs"}.get(name, name)


def doubted(comparisons: list[Comparison], plan: Plan, found: Mapping[tuple[str, str], Trust]) -> list[Comparison]:
    """Comparisons that know why their verdicts are worth less."""
    where = {setting_of(cell): (cell.model, cell.dataset) for cell in plan.cells}
    caveats = {name: tuple(found[setting].caveats) for name, setting in where.items() if setting in found}
    return [replace(one, caveats=caveats.get(one.name, ())) for one in comparisons]


def banners(found: dict[tuple[str, str], Trust]) -> list[str]:
    """What stands at the head of the page: why verdicts are marked."""
    several = len(found) > 1
    return [
        f"{f'{one.label}: ' if several else ''}gold is not trustworthy or not independent; verdicts are downgraded one "
        f"grade (†): {'; '.join(one.caveats)}."
        for one in found.values()
        if one.caveats
    ]


def watermark(found: dict[tuple[str, str], Trust]) -> str:
    """What lies across the page where one reward model fills two roles."""
    shared = list(dict.fromkeys(text for one in found.values() for text in one.shared))
    return f"Shared reward: {listed(shared)}" if shared else ""


def trust_points(one: Trust) -> list[str]:
    """What the sentence rests on."""
    found = list(one.shared)
    if one.kappa:
        kappa_told = interval(one.kappa.value, one.kappa.low, one.kappa.high, digits_of(one.kappa.value))
        found.append(
            f"Cohen's κ of gold's and the proxy's being right on the {one.kappa.n} hardest labelled pairs is "
            f"{kappa_told} (0: independent errors, 1: the same ones; "
            f"above {MOST_KAPPA} they are not independent). Where they err alike on responses as on these pairs, a "
            "gain that was made by pleasing the proxy is by gold so many times as large as it is: "
            f"{interval(*one.kappa.overstatement)}. That is an estimate and no bound: a contestant's own ratio may "
            "lie beyond it."
        )
    elif "gold" in one.cards:
        found.append("Whether gold shares the proxy's errors cannot be told: there are not two models to compare.")
    for role, card in one.cards.items():
        if card.unreadable:
            texts = f"{card.unreadable} of {card.texts} texts are longer than it can read and have no score"
            found.append(f"{role}: {texts}; none was cut.")
    return found
