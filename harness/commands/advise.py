"""`harness advise`: which algorithm to pick under constraints."""

from __future__ import annotations

import json
from pathlib import Path

from harness.errors import HarnessError, nearest
from harness.recipe import STARTS, read_recipe
from harness.records import read
from harness.report.advice import GIVES, NEEDS, Advice, Wishes, advise_all
from harness.report.articles import article_lines, article_values
from harness.report.claims import judge
from harness.report.grade import in_words, weighed
from harness.report.looks import plan_so_far
from harness.report.standings import compare
from harness.report.trust import trusts
from harness.store import Store


def show_advice(path: Path, assignments: list[str], results: Path, wishes: Wishes, as_json: bool) -> None:
    """Print the advice of each setting.

    Raises:
        HarnessError: a wish that nobody can have; all of them at once.
    """
    _check(wishes)
    store = Store(results)
    plan, _ = plan_so_far(read_recipe(path, assignments), store)
    tables = read(plan, store)
    comparisons = weighed(compare(plan, tables), plan, tables, trusts(plan, store))
    found, judged = advise_all(comparisons, tables, wishes), judge(plan, tables, comparisons)
    if as_json:
        settings = [_values(setting, advice) for setting, advice in found.items()]
        print(json.dumps({"settings": settings, "articles": article_values(judged)}, indent=1))
        return
    for setting, advice in found.items():
        print(f"{setting}: {advice.pick or 'no pick'} ({in_words(advice)})")
        for said in advice.said:
            print(f"  {said.text}")
    print("What the articles advise, and this study's verdicts on what that rests on:")
    for line in article_lines(judged):
        print(f"  {line}")


def _values(setting: str, advice: Advice) -> dict[str, object]:
    said = [{"text": one.text, "rows": list(one.rows)} for one in advice.said]
    same = {"pick": advice.pick, "grade": advice.grade, "tied": list(advice.tied), "left_out": advice.left_out}
    return {"setting": setting, **same, "decided": list(advice.decided), "said": said}


def _check(wishes: Wishes) -> None:
    problems = []
    words = (
        *(("--data", wishes.data, tuple(GIVES)), ("--need", wishes.needs, NEEDS)),
        ("--start", (wishes.start,) if wishes.start else (), STARTS),
    )
    for option, given, known in words:
        problems += [
            f"{option} '{word}' is not known{nearest(word, known)} (known: {', '.join(known)})"
            for word in given
            if word not in known
        ]
    amounts = {"--memory-gb": wishes.memory_gb, "--device-hours": wishes.device_hours, "--models": wishes.models}
    for option, amount in {**amounts, "--scale": wishes.scale}.items():
        if amount is not None and not amount > 0:
            problems.append(f"{option} must be above 0; it is {amount:g}")
    if problems:
        raise HarnessError("\n".join(problems))
