"""SFT against maximum likelihood written out token by token."""

from __future__ import annotations

from pathlib import Path

from parity import sft_by_hand


def test_loss_and_gradient_are_those_of_the_token_mean(shelf: Path) -> None:
    sft_by_hand(shelf)
