"""Score texts of known worth with one reward model, and write every score down."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data import held_out
from harness.metrics import Measurement
from harness.trust.card import BEST_OF, COLUMNS, Card, Mean, Share, make_card
from harness.trust.probes import Text, corrupted, unchanged

if TYPE_CHECKING:
    from harness.data import Dataset
    from harness.stages import Audit

FILE = "scores.parquet"
Asked = tuple[str, str, str, str, Text]
"""Part, row, prompt, item, and the text to score."""


def write_audit(out: Path, inputs: dict[str, Path], dataset: Dataset, stage: Audit) -> list[Measurement]:
    """Score pairs, corruptions, rankings and samples, write `scores.parquet`, and return the card's numbers.

    A text that is longer than the reward model can read has no score; it is counted, and never cut.
    """
    import pandas as pd

    from harness.inference.proxy import Proxy
    from harness.inference.quiet import quiet

    quiet(stage.threads)
    asked = [*_pairs(dataset, stage), *_rankings(dataset, stage), *_samples(inputs, dataset, stage)]
    texts = [text for *_, text in asked]
    proxy = Proxy(dataset, stage.rule, inputs.get("reward"))
    scores, tokens = proxy.score_readable(texts, stage.batch), proxy.lengths(texts)
    oracle = [_oracle(dataset, text) for text in texts]
    rows = [(*one[:4], *values) for one, *values in zip(asked, scores, tokens, oracle, strict=True)]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"score": float, "oracle": float})
    table.to_parquet(out / FILE, index=False)
    return measurements(make_card(table))


def _oracle(dataset: Dataset, text: Text) -> float | None:
    return dataset.score(*text)["total"] if "total" in dataset.rewards else None


def _pairs(dataset: Dataset, stage: Audit) -> Iterator[Asked]:
    """Both responses of each pair; of the first also the chosen one corrupted, and changed in what means nothing."""
    rows = held_out(dataset, "pairs", stage.pairs)
    for row in rows:
        for item in ("chosen", "rejected"):
            yield "pairs", str(row["id"]), row["prompt_id"], item, (row["prompt"], row[item])
    others = [*rows, *rows[:1]]
    for row, other in list(pairwise(others))[: stage.probed]:
        found = corrupted(dataset, (row["prompt"], row["chosen"]), other["prompt"], str(row["id"]))
        for probe, text in found.items():
            yield "probes", str(row["id"]), row["prompt_id"], probe, text
        for change, text in unchanged((row["prompt"], row["chosen"])).items():
            yield "same", str(row["id"]), row["prompt_id"], change, text


def _rankings(dataset: Dataset, stage: Audit) -> Iterator[Asked]:
    """Four responses of each ranking: the best, and three from there to the worst."""
    for row in held_out(dataset, "rankings", stage.probed):
        last = len(row["responses"]) - 1
        if last >= BEST_OF - 1:
            for item in range(BEST_OF):
                text = row["responses"][item * last // (BEST_OF - 1)]
                yield "rankings", str(row["id"]), row["prompt_id"], str(item), (row["prompt"], text)


def _samples(inputs: dict[str, Path], dataset: Dataset, stage: Audit) -> Iterator[Asked]:
    """The start's responses to the first prompts."""
    import pyarrow.parquet as pq

    split = stage.inputs["sample"].settings()["split"]
    prompts = {row["prompt_id"]: row["prompt"] for row in dataset.rows("prompts", split)}
    lines = pq.read_table(inputs["sample"] / "samples.parquet", columns=["prompt_id", "k", "response"]).to_pylist()
    first = set(list(dict.fromkeys(line["prompt_id"] for line in lines))[: stage.probed])
    for line in lines:
        if line["prompt_id"] in first:
            text = (prompts[line["prompt_id"]], line["response"])
            yield "samples", line["prompt_id"], line["prompt_id"], str(line["k"]), text


def measurements(card: Card) -> list[Measurement]:
    """The card's numbers as a record holds them; what is not there is no row."""
    found: list[Measurement] = [Measurement("unreadable", card.unreadable, card.texts, "texts", "lower")]
    named: dict[str, Share | Mean | None] = {
        "accuracy": card.accuracy,
        "accuracy_longer_rejected": card.longer_rejected,
        "best_of_4": card.best_of_4,
        "oracle_pairs": card.oracle_pairs,
        "oracle_rank": card.oracle_rank,
        "length_rank": card.length_rank,
        "spread": card.spread,
        **{f"probe/{name}": share for name, share in card.probes.items()},
        **{f"moved/{name}": moved for name, moved in card.moved.items()},
    }
    better = {"length_rank": "", "spread": "", **{f"moved/{name}": "lower" for name in card.moved}}
    for name, one in named.items():
        if one is not None:
            sign = better.get(name, "higher")
            ends: dict[str, Any] = {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
            found += [Measurement(label, value, one.n, "", sign) for label, value in ends.items()]
    return found
