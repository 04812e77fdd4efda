"""The table and the pictures of docs/algorithms.md, from finished comparisons.

    python benchmarks/algorithm_figures.py <results of compare_all> <results of kl_penalty> [folder for pictures]

The two may be one folder. The first has to hold weights, for the picture of CUT's marks.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import Any

import altair as alt

from harness.inference.policy import load_policy
from harness.inference.quiet import quiet
from harness.plan import Plan, make_plan
from harness.recipe import read_recipe
from harness.records import FINAL, Tables, read
from harness.stages import open_dataset
from harness.store import Store
from harness.training.forward import add_head
from harness.training.judgments import marked

RECIPES = Path(__file__).parents[1] / "recipes"
THRESHOLDS = (1.0, 1.1, 1.2, 1.5)


def opened(recipe: str, results: Path) -> tuple[Plan, Store, Tables]:
    """A recipe's plan, and the tables of what of it is finished."""
    plan, store = make_plan(read_recipe(RECIPES / recipe)), Store(results)
    return plan, store, read(plan, store)


def values(tables: Tables, metric: str, kind: str) -> dict[str, float]:
    """A number of a kind of stage of the finished policies: mean over replicates, by contestant."""
    rows = tables.measurements
    rows = rows[(rows["metric"] == metric) & (rows["kind"] == kind) & (rows["step"] == FINAL)]
    return {str(name): float(value) for name, value in rows.groupby("contestant")["value"].mean().items()}


def print_table(tables: Tables) -> dict[str, dict[str, float]]:
    """All contestants: oracle, gold, proxy, KL, length, tokens generated for an answer, device-seconds of their own."""
    metrics = {
        "oracle": "reward/oracle",
        "gold": "reward/gold",
        "proxy": "reward/proxy",
        "kl": "kl",
        "length": "length",
    }
    found = {name: values(tables, metric, "grade") for name, metric in metrics.items()}
    spent, answers = values(tables, "generated_tokens", "sample"), values(tables, "responses", "sample")
    found["spent"] = {name: spent[name] / answers[name] for name in spent}
    own = tables.spent[tables.spent["part"] == "own"]
    found["seconds"] = {str(n): float(v) for n, v in own.groupby("contestant")["device_seconds"].mean().items()}
    names = sorted(found["oracle"], key=lambda name: -found["oracle"][name])
    print(
        "| contestant | oracle | gold | proxy | KL, nats | tokens | generated for an answer | device-seconds, by the clock |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        kl = f"{found['kl'][name]:.2f}" if name in found["kl"] else "–"
        scores = " | ".join(f"{found[role][name]:+.2f}" for role in ("oracle", "gold", "proxy"))
        sizes = f"{found['length'][name]:.1f} | {found['spent'][name]:.1f} | {found['seconds'].get(name, 0):.0f}"
        print(f"| `{name}` | {scores} | {kl} | {sizes} |")
    return found


def reward_against_kl(found: dict[str, dict[str, float]], path: Path) -> None:
    """Oracle and proxy against distance, a mark for each contestant."""
    rows = [
        {"contestant": name, "root_kl": max(0.0, found["kl"][name]) ** 0.5, "reward": role, "value": found[role][name]}
        for role in ("oracle", "proxy")
        for name in found["kl"]
    ]
    for role in ("oracle", "proxy"):
        label([row for row in rows if row["reward"] == role])
    x = alt.X("root_kl:Q", title="√KL to the start (√nats per response)", scale=alt.Scale(domain=[0, 1.9]))
    y = alt.Y("value:Q", title="mean score", scale=alt.Scale(zero=False))
    base = alt.Chart(alt.Data(values=rows)).encode(x)
    lines = base.mark_rule(color="#bbb", strokeWidth=0.7).encode(y=y, x2="label_x:Q", y2="label_y:Q")
    text = base.mark_text(align="left", dx=3, fontSize=9).encode(x="label_x:Q", y="label_y:Q", text="contestant:N")
    panel = alt.layer(lines, base.mark_point(filled=True, size=45).encode(y), text).properties(width=430, height=420)
    panel.facet(column=alt.Column("reward:N", title=None)).resolve_scale(y="independent").save(path)


def label(rows: list[dict[str, Any]]) -> None:
    """Give each mark a place for its name at the right, in the marks' order from below and a line apart."""
    gap = (max(row["value"] for row in rows) - min(row["value"] for row in rows)) / 32
    beneath = -float("inf")
    for row in sorted(rows, key=lambda row: row["value"]):
        row["label_x"], row["label_y"] = 1.45, max(row["value"], beneath + gap)
        beneath = row["label_y"]
    over = max(row["label_y"] for row in rows) - max(row["value"] for row in rows)
    above = float("inf")
    for row in sorted(
        rows, key=lambda row: -row["label_y"]
    ):  # and down again, half of the way that they were pushed up
        row["label_y"] = min(row["label_y"] - over / 2, above - gap) if over > 0 else row["label_y"]
        above = row["label_y"]


def penalty(tables: Tables, path: Path) -> None:
    """PPO's proxy and oracle over its steps, by its KL coefficient."""
    rows = tables.measurements
    steps = int(rows[rows["metric"] == "steps"]["value"].max())
    chosen = rows[rows["metric"].isin(["reward/proxy", "reward/oracle"])]
    data: list[dict[str, Any]] = []
    for (name, step, metric), group in chosen.groupby(["contestant", "step", "metric"]):
        place = steps if step == FINAL else int(step)
        for contestant in [name] if name != "sft" else [n for n in chosen["contestant"].unique() if n != "sft"]:
            where = 0 if name == "sft" else place
            role = str(metric).removeprefix("reward/")
            data.append(
                {"contestant": contestant, "step": where, "reward": role, "value": float(group["value"].mean())}
            )
    colour = alt.Color("contestant:N", title=None)
    chart = alt.Chart(alt.Data(values=data)).mark_line(point=True)
    x, y = alt.X("step:Q", title="optimiser step"), alt.Y("value:Q", title="mean score", scale=alt.Scale(zero=False))
    panel = chart.encode(x, y, colour).properties(width=320, height=260)
    panel.facet(column=alt.Column("reward:N", title=None)).resolve_scale(y="independent").save(path)
    print("\n| contestant | step | proxy | oracle |\n|---|---|---|---|")
    by = {(d["contestant"], d["step"], d["reward"]): d["value"] for d in data}
    for name, step in sorted({(d["contestant"], d["step"]) for d in data}):
        print(f"| `{name}` | {step} | {by[name, step, 'proxy']:+.2f} | {by[name, step, 'oracle']:+.2f} |")


def print_marks(plan: Plan, store: Store, path: Path) -> None:
    """Precision of marked tokens and recall of error spans over λ, and one example as a picture."""
    cell = next(c for c in plan.cells if c.contestant == "cut" and c.replicate == 0)
    start = next(c for c in plan.cells if c.is_start and c.replicate == 0)
    dataset = open_dataset(cell.policy.dataset)
    rows = [row for row in dataset.rows("judgments", "heldout") if row["judgment"] and row["error_spans"]]
    print("\n| policy | λ | marked tokens inside of error spans | error spans with a marked token |\n|---|---|---|---|")
    for name, stage in (("start", start.policy), ("cut", cell.policy)):
        model, tokenizer = load_policy(store.folder(stage.name) / "policy")
        add_head(model)
        for threshold in THRESHOLDS:
            marks = marked(model, tokenizer, dataset, rows, threshold)
            inside, spans = _hits(rows, marks)
            print(f"| {name} | {threshold} | {inside:.2f} | {spans:.2f} |")
    marks = marked(model, tokenizer, dataset, rows, 1.1)
    place = max(range(len(rows)), key=lambda i: _clarity(rows[i], marks[i]))
    path.write_text(_picture(rows[place], marks[place]), encoding="utf-8")


def _hits(rows: list[dict[str, Any]], marks: list[list[bool]]) -> tuple[float, float]:
    inside = [
        any(first <= place < last for first, last in row["error_spans"])
        for row, own in zip(rows, marks, strict=True)
        for place, mark in enumerate(own)
        if mark
    ]
    spans = [any(own[first:last]) for row, own in zip(rows, marks, strict=True) for first, last in row["error_spans"]]
    return fmean(inside), fmean(spans)


def _clarity(row: dict[str, Any], marks: list[bool]) -> tuple[int, int]:
    """An example with several errors, and few other marks."""
    spans = row["error_spans"]
    other = sum(mark and not any(a <= place < b for a, b in spans) for place, mark in enumerate(marks))
    return -other if len(spans) > 1 else -99, len(spans)


def _picture(row: dict[str, Any], marks: list[bool]) -> str:
    """The response in words: error spans underlined, marked tokens on red."""
    said = [f"prompt: {row['prompt'][-1]['content']}", f"judgment: {row['judgment']}"]
    lines = [line for text in said for line in wrap(text, 95, subsequent_indent="    ")]
    parts = [f'<text x="12" y="{26 + 20 * i}" fill="#555">{escape(line)}</text>' for i, line in enumerate(lines)]
    x, y = 12, 46 + 20 * len(lines)
    for place, word in enumerate([*row["response"].split(), "(end)"]):
        width = 7.3 * len(word) + 8
        if x + width > 740:
            x, y = 12, y + 26
        if marks[place]:
            parts.append(f'<rect x="{x - 2}" y="{y - 15}" width="{width - 4}" height="20" fill="#f4a9a0"/>')
        if any(first <= place < last for first, last in row["error_spans"]):
            parts.append(
                f'<line x1="{x}" x2="{x + width - 6}" y1="{y + 5}" y2="{y + 5}" stroke="#b00" stroke-width="2"/>'
            )
        parts.append(f'<text x="{x}" y="{y}">{escape(word)}</text>')
        x += width
    style = '<style>text{font:13px ui-monospace,monospace}</style><rect width="100%" height="100%" fill="white"/>'
    size = f'width="760" height="{y + 30}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{"".join(parts)}</svg>\n'


def main() -> None:
    quiet(1)
    folder = Path(sys.argv[3] if len(sys.argv) > 3 else Path(__file__).parents[1] / "docs")
    plan, store, tables = opened("compare_all.toml", Path(sys.argv[1]))
    reward_against_kl(print_table(tables), folder / "reward_kl.svg")
    penalty(opened("kl_penalty.toml", Path(sys.argv[2]))[2], folder / "ppo_penalty.svg")
    print_marks(plan, store, folder / "cut_marks.svg")


if __name__ == "__main__":
    main()
