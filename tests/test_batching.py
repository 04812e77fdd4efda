"""Where memory runs out, evaluation goes on with smaller batches and finds the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import WORDS, SmallData, save_small_reward, small_policy

from harness.inference.batching import in_batches
from harness.inference.rendering import render_prompt, render_response
from harness.inference.sampling import noise, sample
from harness.inference.scoring import RewardModel, divergence, sequence_logp

FULL = "CUDA error: out of memory"


class Small:
    """A model that has memory for a few rows alone, and counts what it was given."""

    def __init__(self, model: Any, monkeypatch: pytest.MonkeyPatch, rows: int, error: Exception) -> None:
        self.given: list[int] = []
        own = model.forward

        def forward(*args: Any, **inputs: Any) -> Any:
            self.given.append(len(inputs["input_ids"]))
            if self.given[-1] > rows:
                raise error
            return own(*args, **inputs)

        monkeypatch.setattr(model, "forward", forward)


def work(tmp_path: Path) -> tuple[list[Any], dict[str, Callable[[], Any]]]:
    """Models, and all that reads many rows with them, eight at a time."""
    (policy, tokenizer), (start, _) = small_policy(0), small_policy(1)
    reward = RewardModel(save_small_reward(tmp_path) / "reward")
    rows = SmallData().rows("prompts", "test")
    prompts = [render_prompt(tokenizer, row["prompt"]) for row in rows]
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    sequences = [(ids, render_response(tokenizer, WORDS[i])) for i, ids in enumerate(prompts)]
    texts = [(row["prompt"], WORDS[i]) for i, row in enumerate(rows)]
    drawn = {"end_id": end, "pad_id": pad, "temperature": 1.0, "batch": 8}
    asked: dict[str, Callable[[], Any]] = {
        "sample": lambda: [
            one.token_ids for one in sample(policy, prompts, [noise("a", "b", k, 6) for k in range(len(rows))], **drawn)
        ],
        "logp": lambda: sequence_logp(policy, sequences, pad, 8),
        "divergence": lambda: [value for part in divergence(policy, start, sequences, pad, 8) for value in part],
        "reward": lambda: reward.score(texts, 8),
    }
    return [policy, start, reward.model], asked


@pytest.mark.parametrize("what", ["sample", "logp", "divergence", "reward"])
def test_a_lack_of_memory_halves_the_batch_and_changes_nothing(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models, asked = work(tmp_path)
    expected = asked[what]()
    small = [Small(model, monkeypatch, 3, RuntimeError(FULL)) for model in models]
    found = asked[what]()
    assert found == (expected if what == "sample" else pytest.approx(expected, abs=1e-5))
    given = max((one.given for one in small), key=len)
    assert given[:3] == [8, 4, 2], "it is tried with half as many"
    assert max(given[2:]) == 2, "and not with more again"
    assert "memory ran out with 8 rows at a time; going on with 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "error"), [(0, RuntimeError(FULL)), (3, RuntimeError("a bug")), (3, FloatingPointError("not finite"))]
)
def test_what_a_smaller_batch_does_not_help_is_an_error(
    rows: int, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, asked = work(tmp_path)
    small = Small(models[0], monkeypatch, rows, error)
    with pytest.raises(type(error), match=str(error)):
        asked["logp"]()
    assert small.given[-1] == (1 if rows == 0 else 8)


def test_nothing_of_an_attempt_is_held_while_the_next_one_runs() -> None:
    """Else memory would not suffice for half as many either."""
    import weakref

    held: list[weakref.ref[torch.Tensor]] = []

    def working(chosen: list[int]) -> list[int]:
        assert all(one() is None for one in held)
        large = torch.zeros(len(chosen))
        held.append(weakref.ref(large))
        if len(chosen) > 1:
            raise MemoryError
        return chosen

    assert in_batches([3, 1, 2], [0, 5, 5, 5], 4, working) == {3: 3, 1: 1, 2: 2}


def test_a_long_row_does_not_pad_many_short_ones() -> None:
    seen: list[list[int]] = []

    def working(chosen: list[int]) -> list[int]:
        seen.append(chosen)
        return chosen

    sizes = [20, 22, 30, 40, 1500, 1600]
    assert set(in_batches(range(6), sizes, 128, working)) == set(range(6))
    assert seen == [[0, 1, 2, 3], [4, 5]]
    for chosen in seen:
        assert len(chosen) * max(sizes[i] for i in chosen) <= 2 * sum(sizes[i] for i in chosen)


def test_what_a_long_prompt_is_given_with_changes_nothing() -> None:
    policy, tokenizer = small_policy(0)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    prompts = [[5, 6, 7], [6, 7], [5] * 90, [7, 8, 9, 5]]
    given = [noise("a", "b", k, 6) for k in range(len(prompts))]
    drawn = {"end_id": end, "pad_id": pad, "temperature": 1.0}
    alone = [sample(policy, [ids], [own], batch=1, **drawn)[0] for ids, own in zip(prompts, given, strict=True)]
    together = sample(policy, prompts, given, batch=8, **drawn)
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]
    sequences = [(ids, one.token_ids) for ids, one in zip(prompts, alone, strict=True)]
    one_by_one = [sequence_logp(policy, [sequence], pad, 1)[0] for sequence in sequences]
    assert sequence_logp(policy, sequences, pad, 8) == pytest.approx(one_by_one, abs=1e-5)
