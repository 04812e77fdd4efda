"""Ready-made reward models: sequence classifiers of the hub or a folder, with a tokenizer and template of their own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness import hub
from harness.errors import HarnessError
from harness.metrics import Measurement

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from harness.data import Message
    from harness.inference.scoring import RewardModel
    from harness.stages import Ready

MARK = "ready.json"
"""In `reward/` of a ready-made model: where it came from."""
FOLDER = "folder"
"""The source of a model that is no hub's."""
FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""What of a hub's repository is fetched."""


def files_of(folder: Path) -> list[Path]:
    """All files of a folder, sorted; hidden ones and what Python leaves there are not part of it."""

    def belongs(path: Path) -> bool:
        parts = path.relative_to(folder).parts
        return path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts)

    return sorted(path for path in folder.rglob("*") if belongs(path))


def folder_digest(folder: Path) -> str:
    """SHA-256 of names and contents of all files of a model."""
    whole = hashlib.sha256()
    for path in files_of(folder):
        with path.open("rb") as file:
            own = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.relative_to(folder).as_posix()} {own}\n".encode())
    return whole.hexdigest()


def is_ready(folder: Path) -> bool:
    """Whether a `reward/` folder holds a ready-made model."""
    return (folder / MARK).exists()


def keep(out: Path, stage: Ready) -> list[Measurement]:
    """Bring a ready-made model's files into `reward/`, as hard links where they can be, and check that it can be asked.

    Raises:
        HarnessError: it is not there, is another one than the recipe named, or is no scalar reward model.
    """
    source = _folder(stage) if stage.source == FOLDER else _fetched(stage)
    target = out / "reward"
    for path in files_of(source):
        _link(path, target / path.relative_to(source))
    about = {name: value for name, value in stage.settings().items() if name != "path"}
    (target / MARK).write_text(json.dumps(about, indent=1), encoding="utf-8")
    model = _opened(target, source.name if stage.source == FOLDER else stage.source)
    render_whole(model.tokenizer, [{"role": "user", "content": "hello"}], "hello")
    parameters = sum(weights.numel() for weights in model.model.parameters())
    return [Measurement("parameters", parameters, 1, "parameters")]


def _opened(folder: Path, name: str) -> RewardModel:
    from harness.inference.scoring import RewardModel

    try:
        return RewardModel(folder)
    except HarnessError:
        raise
    except Exception as error:  # no config, of no known kind, weights cut off: transformers raises dozens of kinds
        sizes = ValueError("sizes of weights are not those of its config")
        told = sizes if "ignore_mismatched_sizes" in str(error) else error
        end = "It has to hold the config of a sequence classifier, safetensors and a tokenizer"
        raise hub.refusal(told, f"the reward model {name} cannot be loaded", end, local=True) from error


def _folder(stage: Ready) -> Path:
    folder = Path(str(stage.path))
    if not folder.is_dir():
        raise HarnessError(f"the reward model's folder {folder} is not there any more; run the recipe from where it is")
    if folder_digest(folder) != stage.sha256:
        raise HarnessError(f"the reward model in {folder} has changed since the recipe was read; run the recipe again")
    return folder


def _fetched(stage: Ready) -> Path:
    """A snapshot from the hub, or from its cache on this machine."""
    from huggingface_hub import snapshot_download

    with hub.asking():
        try:
            return Path(snapshot_download(stage.source, revision=stage.revision, allow_patterns=list(FILES)))
        except Exception as error:  # the hub's client raises many kinds
            begin = f"cannot fetch {stage.source} at {stage.revision} from the hub"
            raise hub.refusal(error, begin, hub.ADVICE) from error


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def check_head(folder: Path, config: PretrainedConfig) -> None:
    """A scalar head on a sequence classifier.

    Raises:
        HarnessError: it is something else.
    """
    kinds = config.architectures or []
    if kinds and not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise HarnessError(
            f"{folder} is no reward model: it is a {', '.join(kinds)}; a reward model is a "
            "...ForSequenceClassification with one number as its output"
        )
    if config.num_labels != 1:
        raise HarnessError(f"{folder} is no reward model: its head gives {config.num_labels} numbers, not 1")


def check_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """A padding token and a chat template.

    Raises:
        HarnessError: one of them is not there.
    """
    if tokenizer.chat_template is None:
        raise HarnessError(
            f"the tokenizer of the reward model {folder} has no chat template, so that a conversation cannot be shown "
            "to it; put one into its tokenizer_config.json or chat_template.jinja"
        )
    if tokenizer.pad_token_id is None:
        raise HarnessError(
            f"the tokenizer of the reward model {folder} has no padding token, so that responses cannot be scored in "
            "batches; name one in its tokenizer_config.json"
        )


def render_whole(tokenizer: PreTrainedTokenizerBase, prompt: list[Message], response: str) -> list[int]:
    """Token ids of a conversation as the tokenizer's own template writes it.

    Raises:
        HarnessError: the template does not show the response, or the begin token stands there twice.
    """
    turns = [*prompt, {"role": "assistant", "content": response}]
    try:
        found: Any = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    except Exception as error:  # jinja2's errors and the template's own
        raise HarnessError(f"the reward model's chat template cannot write this conversation: {error}") from error
    ids = cast(list[int], found)
    if tokenizer.bos_token_id is not None and ids[:2] == [tokenizer.bos_token_id] * 2:
        raise HarnessError("the reward model's chat template and tokenizer both write the begin token")
    return ids
