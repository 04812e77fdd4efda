"""Master weights: float32 copies that an optimiser steps in place of weights that are kept in a lower precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

KEPT = "masters"
"""Where an optimiser's state dictionary holds them."""


def step_in_float32(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimiser step float32 copies of all weights of lower precision, which get their rounded values.

    A bfloat16 weight has 8 significant bits: an update smaller than 1/512 of it would be lost at every step, and the
    more of them the lower the learning rate (Micikevicius et al. 2018, "Mixed Precision Training", 3.1). The copies are
    part of what the optimiser saves and loads. They are made when they are first needed, since accelerate may shard the
    weights before that, and looks for those of the model in the optimiser.
    """
    import torch

    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def make() -> None:
        for group in () if pairs else optimizer.param_groups:
            weights = group["params"]
            group["params"] = [w if w.dtype == torch.float32 else w.detach().float() for w in weights]
            pairs.extend((old, new) for old, new in zip(weights, group["params"], strict=True) if old is not new)

    def before(*_: Any) -> None:
        make()
        for weight, copy in pairs:
            copy.grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None  # it would be held beside its copy

    def after(*_: Any) -> None:
        with torch.no_grad():
            for weight, copy in pairs:
                weight.copy_(copy)
                copy.grad = None

    def saved(_: Any, state: dict[str, Any]) -> None:
        if pairs:
            state[KEPT] = [copy for _, copy in pairs]

    def loaded(_: Any, state: dict[str, Any]) -> None:
        kept = state.pop(KEPT, None)
        if kept:
            make()
            for (_, copy), value in zip(pairs, kept, strict=True):
                copy.copy_(value)

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
    optimizer.register_state_dict_post_hook(saved)
    optimizer.register_load_state_dict_pre_hook(loaded)
