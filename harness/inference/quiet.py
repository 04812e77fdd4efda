"""Set up a process for training or evaluation: threads fixed, no telemetry, no progress bars."""

from __future__ import annotations

import os


def quiet(threads: int) -> None:
    """Call once before a stage touches torch.

    Args:
        threads: CPU threads; float sums depend on them, so they are part of a stage's key.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import datasets
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
