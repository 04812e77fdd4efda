"""The clipped ratio of single tokens, which PPO and GRPO share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def clipped_token_losses(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, clip: float
) -> torch.Tensor:
    """−min(ρA, clamp(ρ, 1 ± clip) A) with ρ = π/π_old of each token, (B, T).

    Args:
        logps: (B, T) under the policy.
        old_logps: (B, T) under the policy that gave the responses.
        advantages: (B, T).
        clip: ε.

    Source:
        Schulman et al. 2017, arXiv 1707.06347, L^CLIP. Checked in tests/algorithms/test_on_policy_losses.py.
    """
    import torch

    ratio = (logps - old_logps).exp()
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
