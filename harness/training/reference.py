"""Log-probabilities of training responses under a frozen start, computed once and shared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness import keys
from harness.errors import HarnessError
from harness.inference.opened import device
from harness.inference.policy import load_policy
from harness.inference.quiet import quiet
from harness.inference.scoring import sequence_logp
from harness.metrics import Measurement
from harness.training.rows import TEXTS, Encoder, fitting, with_partners

if TYPE_CHECKING:
    from harness.data import Row
    from harness.job import Budget

FILE = "reference.parquet"


def write_reference(out: Path, start: Path, rows: dict[str, list[Row]], budget: Budget) -> list[Measurement]:
    """Score every distinct (prompt, response) of some views, and KTO's mismatched partners.

    Args:
        out: `reference.parquet` goes there: `prompt_id, response_key, logp, tokens`.
        start: the start's stage folder.
        rows: rows by view.
        budget: lengths, threads, precision and micro-batch.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    quiet(budget.threads)
    model, tokenizer = load_policy(start / "policy", budget.precision)
    encoder = Encoder(tokenizer)
    wanted: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
    for view, found in rows.items():
        kept, _ = fitting(encoder, found, view, budget)
        for row in with_partners(kept) if view == "binary" else kept:
            for name in TEXTS[view]:
                wanted[row["prompt_id"], keys.key(row[name])] = (encoder.prompt(row), encoder.response(row[name]))
    model = model.to(device())
    logp = sequence_logp(model, list(wanted.values()), tokenizer.pad_token_id, 4 * budget.micro_batch)
    columns = {
        "prompt_id": [prompt_id for prompt_id, _ in wanted],
        "response_key": [response for _, response in wanted],
        "logp": logp,
        "tokens": [len(response) for _, response in wanted.values()],
    }
    pq.write_table(pa.table(columns), out / FILE)
    return [Measurement("responses_scored", len(wanted), 1, "responses")]


def read_reference(folder: Path) -> Callable[[str, str], float]:
    """A look-up of log π_ref(response | prompt) by prompt id and response text.

    Raises:
        HarnessError: (from the look-up) the reference does not hold that response.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(folder / FILE).to_pydict()
    pairs = zip(table["prompt_id"], table["response_key"], strict=True)
    known = dict(zip(pairs, table["logp"], strict=True))

    def logp(prompt_id: str, response: str) -> float:
        found = known.get((prompt_id, keys.key(response)))
        if found is None:
            raise HarnessError(f"{folder.name} holds no log-probability of a response to prompt {prompt_id}")
        return float(found)

    return logp
