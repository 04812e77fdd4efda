"""The sections of the page, in order; each opens with one sentence that says what it shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import harness.registry as registry
from harness.keys import key
from harness.public import public
from harness.report import over_optimisation, quality_cost, say
from harness.report.advice import Advice, Wishes, advise_all
from harness.report.advice_words import beside_rows
from harness.report.alarms import alarms, alarms_section, idle
from harness.report.answer import headline, points, recommended
from harness.report.articles import articles_sheet
from harness.report.benchmarks import benchmarks_section, benchmarks_sheet, tax
from harness.report.best_of import best_of_sheet, best_of_view
from harness.report.cards import card_sheet, cards_sheet, checks_sheet
from harness.report.claims import judge
from harness.report.collapse import in_top_set
from harness.report.components import components_sheet
from harness.report.drift import drift_sheet
from harness.report.given import given_sentence, given_sheet
from harness.report.grade import grade_sheet, weighed
from harness.report.guide import candidates_sheet, guide_section
from harness.report.hypotheses import hypotheses_section
from harness.report.judges import judges_sections, judges_sheet
from harness.report.ledger import (
    costs_sheet,
    gaps_sheet,
    metrics_sheet,
    preference_sheet,
    runs_sheet,
    totals_sheet,
    unasked,
)
from harness.report.method import dictionary_sheet, method_section, words_of
from harness.report.outputs import outputs_section, outputs_sheet
from harness.report.page import Drawn, Guide, Linked, Page, Section, pictures
from harness.report.painter import ask
from harness.report.parity import parity_section
from harness.report.places import Places, places
from harness.report.published import published_section
from harness.report.room import room_sentence, room_sheet
from harness.report.samples import samples
from harness.report.sheet import Sheet, count, named
from harness.report.sheets import main_sheet, matrix_sheet, pairs_sheet
from harness.report.stability import agreement_sheet, stability_section, stability_sheet
from harness.report.standings import compare
from harness.report.trust import Trust, banners, trust_points, trusts, watermark
from harness.report.trust_figures import trust_figures
from harness.report.tuning import studies_of, studies_sheet, trials_sheet, tuning_section
from harness.report.twins import prompts_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.plan import Plan
    from harness.records import Tables
    from harness.report.claims import Judged
    from harness.report.compare import Comparison
    from harness.report.figures import Figure
    from harness.store import Store


ORDER = (
    *("answer", "alarms", "main", "pairs", "reward-kl", "over-optimisation", "quality-cost", "cost", "tuning"),
    *("stability", "outputs", "preference", "judges", "benchmarks", "hypotheses", "published", "guide", "trust"),
    *("training", "figures", "samples", "metrics", "runs", "gaps", "parity", "given", "method", "dictionary"),
)
"""The ids of the sections, as they stand on the page; those of several settings follow one another."""


@dataclass(frozen=True)
class _Study:
    """What the sections of every setting draw on."""

    plan: Plan
    store: Store
    tables: Tables
    comparisons: list[Comparison]
    advised: dict[str, Advice]
    judged: list[Judged]
    outputs: Sheet
    stable: Sheet
    benched: Sheet


def make_page(plan: Plan, store: Store, tables: Tables, long: Sequence[Sheet] = ()) -> tuple[Page, list[Sheet]]:
    """The page and its tables.

    Args:
        plan: what was to be run.
        store: for the samples that are shown.
        tables: what the records say.
        long: tables that are in files alone, and written already.

    Returns:
        The page, and all other tables that belong into files.
    """
    audited = ask(trusts, plan, store)
    compared = compare(plan, tables)
    suffixes = [f"-{i}" * _several(tables) for i in range(len(compared))]
    figures = [_figures(one, suffix) for one, suffix in zip(compared, suffixes, strict=True)]  # drawn meanwhile
    found = audited.get()
    raised = alarms(tables, found)
    comparisons = weighed(compared, plan, tables, found, raised)
    advised, judged = advise_all(comparisons, tables, Wishes()), judge(plan, tables, comparisons)
    outputs = outputs_sheet(comparisons, tables, plan.recipe.evaluation.metrics)
    benched = benchmarks_sheet(plan, comparisons, tables)
    stable = stability_sheet(comparisons)
    study = _Study(plan, store, tables, comparisons, advised, judged, outputs, stable, benched)
    ids = _trust_ids(found)
    where = [
        places(one, suffix, ids.get(one.name.rpartition(" · ")[0], ""), tuned=bool(studies_of(tables, one.name)))
        for one, suffix in zip(comparisons, suffixes, strict=True)
    ]
    sections = [
        section
        for one, own, drawn in zip(comparisons, where, figures, strict=True)
        for section in _of_setting(one, own, drawn, study)
    ]
    sections.append(alarms_section(raised, idle(tables, found)))
    shared = [
        _metrics(comparisons),
        _given(tables),
        _gaps(study),
        _cost(plan, store, tables),
        _runs(tables, comparisons),
    ]
    shared += [parity_section(plan), published_section(comparisons, plan)]
    shared += [hypotheses_section(plan, judged)]
    held_out = bool(found) and all(one.held_out for one in found.values())
    sections += [
        *_trust(found, comparisons),
        *benchmarks_section(benched),
        *shared,
        method_section(plan, tables, comparisons, held_out),
    ]
    whole = [grade_sheet({one.name: (advised[one.name], one) for one in comparisons})]
    whole += [
        main_sheet(comparisons, outputs, stable),
        pairs_sheet(comparisons),
        prompts_sheet(comparisons),
        costs_sheet(tables),
    ]
    whole += [
        articles_sheet(judged),
        candidates_sheet(comparisons, tables),
        stable,
        components_sheet(comparisons),
        agreement_sheet(comparisons),
    ]
    whole += [studies_sheet(comparisons, tables), trials_sheet(tables)] if len(tables.studies) else []
    whole += [over_optimisation.over_optimisation_sheet(comparisons), quality_cost.quality_cost_sheet(comparisons)]
    whole += [best_of_sheet(comparisons), outputs]
    preferred = judges_sheet(comparisons, plan, store, tables)
    whole += [preferred] if len(preferred.frame) else []
    whole += [cards_sheet(found), checks_sheet(found.values())]
    whole += [drift_sheet(found.values(), comparisons)]
    whole += [benched] if benched.frame.empty else []  # else it is its section's
    whole += [sheet for section in sections for sheet in section.sheets if sheet.view_of or not sheet.part]
    dictionary = dictionary_sheet([*whole, *long])
    sections.append(
        Section("dictionary", "Data dictionary", "What every column of the tables means.", sheets=[dictionary])
    )
    sections.sort(key=lambda section: next(i for i, kind in enumerate(ORDER) if _is(section, kind)))
    head = (plan.recipe.name, public(plan.recipe.question), _state(tables))
    at_head = banners(found)
    page = Page(*head, sections, at_head, watermark(found), _made(plan, tables), words_of(sections, at_head))
    return page, [*whole, dictionary]


def _is(section: Section, kind: str) -> bool:
    """Whether a section is of a kind: its id, or that of one setting or of one model and dataset."""
    own = section.id.removeprefix(kind)
    return section.id.startswith(kind) and (not own or (own[0] == "-" and own[1:].isdigit()))


def _state(tables: Tables) -> str:
    """How much of the plan has run."""
    statuses = tables.cells["status"].value_counts()
    parts = [
        f"{int(statuses[name])} {name}" for name in ("done", "failed", "blocked", "waiting", "cut") if name in statuses
    ]
    return f"{count(len(tables.cells), 'run')} planned: {', '.join(parts)}." if parts else "No runs planned."


def _made(plan: Plan, tables: Tables) -> str:
    """Which plan this is, and the code, devices and days that made its records; empty before any has run."""
    by = tables.made_by
    if by.empty:
        return ""
    code, devices, days = (sorted({str(one) for one in by[name] if one}) for name in ("commit", "device", "date"))
    dirty = " with uncommitted changes" * bool(by["dirty"].any())
    parts = [
        f"Plan {key(sorted(stage.name for stage in plan.stages()))}",
        f"{'commit' if len(code) == 1 else 'commits'} {named([one[:10] for one in code])}{dirty}" if code else "",
        f"on {named(devices)}" if devices else "",
        " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "",
    ]
    return f"{'; '.join(filter(None, parts))}."


def _of_setting(one: Comparison, where: Places, figures: list[tuple[str, Drawn]], study: _Study) -> list[Section]:
    """The sections that each setting has of its own."""
    plan, store, tables, advice = study.plan, study.store, study.tables, study.advised[one.name]
    suffix = where.suffix
    label = f" · {one.name}" * bool(suffix)
    preference, shown = preference_sheet(one, suffix), samples(plan, store, tables, one)
    main = main_sheet([one], study.outputs, study.stable, where.part)
    found = [
        _answer(one, advice, study, where),
        Section("main", "Contestants", say.contestants(one), sheets=[main]),
        Section(
            "pairs", "All pairs", say.pairs(one), sheets=[matrix_sheet(one, suffix), pairs_sheet([one], suffix or "-0")]
        ),
        _guide(one, advice, study, where),
        stability_section(one, suffix or "-0"),
        over_optimisation.section(one, suffix or "-0"),
        quality_cost.section(one, suffix or "-0"),
        *_tuning(one, tables, suffix or "-0"),
        Section("reward-kl", "Reward and distance", say.reward_kl(one), sheets=[best_of_view(one, suffix or "-0")]),
        outputs_section(one, study.outputs, suffix or "-0"),
        *judges_sections(one, plan, store, tables, suffix or "-0"),
        Section("training", "Training", say.training(one)),
        Section("preference", "Preferences on labelled pairs", say.preference(preference), sheets=[preference]),
        Section("figures", "More figures", "Figures of the plug-in folders."),
        Section("samples", "Samples side by side", say.samples(shown), samples=shown),
    ]
    known = {section.id for section in found}
    for name, figure in figures:
        section = name if name in known else "figures"
        next(one for one in found if one.id == section).figures.append(figure)
    named = [replace(section, id=section.id + suffix, title=section.title + label) for section in found]
    return [section for section in named if section.figures or not section.id.startswith("figures")]


def _answer(one: Comparison, advice: Advice, study: _Study, where: Places) -> Section:
    """Whom to take and how sure that is, then what the verdicts say and what they do not see."""
    told = [*recommended(one, advice, where), *points(one, study.tables, where)]
    told += where.linked([text for text in [in_top_set(one)] if text], "stability")
    benchmarks = ("Benchmarks and alignment tax", "benchmarks")
    told += [Linked(text, (benchmarks,)) for text in tax(study.benched, one.name, advice.pick)]
    sheet = grade_sheet({one.name: (advice, one)}, where.part)
    return Section("answer", "Answer", headline(one), advice.grade, linked=told, sheets=[sheet])


def _guide(one: Comparison, advice: Advice, study: _Study, where: Places) -> Section:
    """The guide; what it says of no contestant's row is linked to the place that it rests on."""
    found = guide_section(one, advice, study.comparisons, study.tables, study.judged, where.part)
    doubts = [fact.doubt for fact in one.facts if not fact.holds]
    links = {text: where.to(kind) for text, kind in beside_rows(doubts).items()}
    linked = [replace(told, links=told.links + links.get(told.text, ())) for told in found.linked]
    form = f"wishes{where.part}"  # the section has the id of the guide
    guide = Guide(form, {**found.guide.values, "places": links}) if found.guide else None
    return replace(found, linked=linked, guide=guide)


def _trust(found: dict[tuple[str, str], Trust], comparisons: list[Comparison]) -> list[Section]:
    """Whether the judges can be trusted, a section for each model and dataset."""
    several, ids = len(found) > 1, _trust_ids(found)
    return [
        Section(
            ids[one.label],
            "Reward-model trust" + (f" · {one.label}" if several else ""),
            one.sentence,
            points=trust_points(one),
            figures=trust_figures(one, comparisons, f"-{index}" if several else ""),
            sheets=[
                card_sheet(one, f"-{index}"),
                drift_sheet([one], comparisons, f"-{index}"),
                checks_sheet([one], f"-{index}"),
            ],
        )
        for index, one in enumerate(found.values())
    ]


def _trust_ids(found: dict[tuple[str, str], Trust]) -> dict[str, str]:
    """The ids of the sections on trust, by model and dataset."""
    return {one.label: f"trust-{index}" if len(found) > 1 else "trust" for index, one in enumerate(found.values())}


def _tuning(one: Comparison, tables: Tables, part: str) -> list[Section]:
    found = tuning_section(one, tables, part)
    return [found] if found else []


def _several(tables: Tables) -> bool:
    return int(tables.cells["setting"].nunique()) > 1


def _figures(one: Comparison, suffix: str) -> list[tuple[str, Drawn]]:
    """Every figure of the folder, each with the id of the section in which it stands."""
    asked = pictures(_charts, one, suffix)
    found = []
    figure: type[Figure]
    for name, figure in registry.loaded("report/figures").items():
        found.append((figure.section, Drawn(f"{name}{suffix}", figure.question, figure.how_to_read, asked)))
    return found


def _charts(one: Comparison, suffix: str) -> dict[str, Any]:
    figures = registry.loaded("report/figures").items()
    return {f"{name}{suffix}": figure().draw(one) for name, figure in figures}


def _metrics(comparisons: list[Comparison]) -> Section:
    sheet = metrics_sheet(comparisons)
    names = sheet.frame[["metric", "role"]].drop_duplicates()
    sentence = (
        f"{count(len(names), 'metric')} of every finished policy." if len(names) else "No metric has been measured yet."
    )
    return Section("metrics", "All metrics", sentence, sheets=[sheet])


def _given(tables: Tables) -> Section:
    sheet = given_sheet(tables)
    return Section("given", "What each was given", given_sentence(sheet), sheets=[sheet])


def _gaps(study: _Study) -> Section:
    sheet = gaps_sheet(study.tables)
    beside = say.unasked([(what, str(row["status"])) for what, row in unasked(study.tables)])
    told = " ".join(filter(None, [say.gaps(study.tables), beside]))
    several = len(study.comparisons) > 1
    points = [
        f"{one.name}: {text}" if several else text
        for one in study.comparisons
        for text in say.unmeasured(one, study.tables, study.benched)
    ]
    return Section("gaps", "Gaps", told, points=points, sheets=[sheet])


def _cost(plan: Plan, store: Store, tables: Tables) -> Section:
    room = room_sheet(plan, store)
    told = " ".join(filter(None, [say.cost(tables), room_sentence(room)]))
    return Section(
        "cost", "Cost of the study", told, sheets=[totals_sheet(tables), *([room] if len(room.frame) else [])]
    )


def _runs(tables: Tables, comparisons: list[Comparison]) -> Section:
    return Section("runs", "Ledger of all runs", _state(tables), sheets=[runs_sheet(tables, comparisons)])
