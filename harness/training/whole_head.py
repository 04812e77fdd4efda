"""What logits say of tokens, where they are held once: their gradient takes their place."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable


class WholeScores(NamedTuple):
    """What is said of each token; all are (rows, T).

    Attributes:
        log_probs: in nats, with gradient.
        entropy: of the distribution that the token was drawn from, in nats, with gradient.
        mean_logits: mean of the logits over the vocabulary; no gradient.
        is_top1: whether the token is the likeliest.
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor
    mean_logits: torch.Tensor
    is_top1: torch.Tensor


def whole_scores(logits: torch.Tensor, ids: torch.Tensor) -> WholeScores:
    """What logits say of tokens.

    Nothing else may read `logits` afterwards: their memory holds log-probabilities until the backward pass, which can
    be made once, and then the gradient. Beside them there is one row's copy. Autograd is not told that they change,
    since it would then keep both; an operation before that needs its own output, which a last tanh would, is refused
    by its count of changes.

    Args:
        logits: (rows, T, vocabulary), that of the token's place.
        ids: (rows, T) the tokens.
    """
    return WholeScores(*_Whole.apply(logits, ids))  # type: ignore[no-untyped-call]  # torch has no type


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        entropy, means, best = (logits.new_empty(ids.shape) for _ in range(3))
        for row, *into in zip(logits, entropy, means, best, strict=True):
            torch.mean(row, -1, out=into[1])
            row -= row.logsumexp(-1, keepdim=True)
            torch.amax(row, -1, out=into[2])
            torch.neg(row.exp().mul_(row).sum(-1), out=into[0])
        chosen = logits.gather(-1, ids[..., None])[..., 0]
        top = chosen >= best
        ctx.save_for_backward(logits, ids, entropy)
        ctx.mark_non_differentiable(means, top)
        return chosen, entropy, means, top

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_chosen: torch.Tensor, of_entropy: torch.Tensor, *_: Any) -> tuple[torch.Tensor, None]:
        """With p = softmax(z): d log p_y / dz = 1_y − p, and d H / dz = −p (log p + H)."""
        logps, ids, entropy = ctx.saved_tensors  # a second backward pass finds them changed, which autograd refuses
        for row, taken, one, own, other in zip(logps, ids, of_chosen, entropy, of_entropy, strict=True):
            p = row.exp()
            row.add_(own[:, None]).mul_(-other[:, None]).sub_(one[:, None]).mul_(p)
            row.scatter_add_(-1, taken[:, None], one[:, None])
        return logps, None
