"""Log-probabilities and entropies from logits that are held once: the gradient takes the place of what it is of."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable


def whole_scores(logits: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each token and entropy of what it was drawn from, in nats, with gradient.

    Nothing else may read `logits` afterwards: their memory holds log-probabilities until the backward pass, which can
    be made once, and then the gradient. Beside them there is one row's copy. Autograd is not told that they change,
    since it would then keep both; an operation before that needs its own output, which a last tanh would, is refused
    by its count of changes.

    Args:
        logits: (rows, T, vocabulary), that of the token's place.
        ids: (rows, T) the tokens.

    Returns:
        (rows, T) and (rows, T).
    """
    found: tuple[torch.Tensor, torch.Tensor] = _Whole.apply(logits, ids)  # type: ignore[no-untyped-call]  # torch has no type
    return found


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        entropy = logits.new_empty(ids.shape)
        for row, into in zip(logits, entropy, strict=True):
            row -= row.logsumexp(-1, keepdim=True)
            torch.neg(row.exp().mul_(row).sum(-1), out=into)
        ctx.save_for_backward(logits, ids, entropy)
        return logits.gather(-1, ids[..., None])[..., 0], entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_chosen: torch.Tensor, of_entropy: torch.Tensor) -> tuple[torch.Tensor, None]:
        """With p = softmax(z): d log p_y / dz = 1_y − p, and d H / dz = −p (log p + H)."""
        logps, ids, entropy = ctx.saved_tensors  # a second backward pass finds them changed, which autograd refuses
        for row, taken, one, own, other in zip(logps, ids, of_chosen, entropy, of_entropy, strict=True):
            p = row.exp()
            row.add_(own[:, None]).mul_(-other[:, None]).sub_(one[:, None]).mul_(p)
            row.scatter_add_(-1, taken[:, None], one[:, None])
        return logps, None
