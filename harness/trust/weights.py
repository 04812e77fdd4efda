"""Whether two models share parameters: their saved tensors, by hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.errors import HarnessError


def fingerprints(folder: Path) -> dict[str, str]:
    """A name for each distinct tensor of a saved model by the hash of its type, shape and bytes.

    A tensor of equal numbers, such as a norm's weights before training, tells nothing and is left out; so is a vector
    of lower precision than float32, which may be as it was since training moved it by less than half its spacing.

    Args:
        folder: holds `*.safetensors`; of an adapter it holds the adapter alone.

    Raises:
        HarnessError: there are none.
    """
    from safetensors import safe_open

    found: dict[str, str] = {}
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise HarnessError(f"{folder} has no *.safetensors, so that it cannot be shown to share no weights")
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # no dictionary, and without __iter__
                tensor = tensors.get_tensor(name).contiguous()
                rounded = tensor.ndim < 2 and tensor.element_size() < 4
                if tensor.numel() and not rounded and bool((tensor != tensor.flatten()[0]).any()):
                    about = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
                    digest = hashlib.sha256(about + _bytes(tensor)).hexdigest()
                    found.setdefault(digest, name)
    return found


def _bytes(tensor: object) -> bytes:
    import torch

    assert isinstance(tensor, torch.Tensor)
    return tensor.flatten().view(torch.uint8).numpy().tobytes()


def shared(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names, in the first, of tensors that both have."""
    return sorted(name for digest, name in one.items() if digest in other)
