"""A model that others have trained: from the hub, from a folder, or out of a package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data import _shelf
from harness.errors import HarnessError, nearest
from harness.inference.templates import TEMPLATES
from harness.knobs import OneOf, knob
from harness.models import ModelSource, Origin


@dataclass(frozen=True)
class Pretrained(ModelSource):
    """A causal language model in safetensors: source = a hub's id, a folder, or 'smollm2-135m' (docs/models.md).

    There are no pretraining seeds.
    """

    name: str = knob("", doc="the hub's id, a folder, or 'smollm2-135m'")
    revision: str = knob("", doc="of the hub: branch, tag or commit; give a commit where it must never change")
    template: str = knob(
        "", doc=f"chat template: empty for the model's own, {', '.join(TEMPLATES)}, Jinja, or a .jinja file"
    )
    remote_code: bool = knob(False, doc="run Python code that comes with the model; only where you trust it")
    bits: int = knob(
        0,
        valid=OneOf((0, 4, 8)),
        doc="weights of policies quantised by bitsandbytes, for LoRA on a GPU; 0: they are not",
    )

    def origin(self) -> Origin:
        """Loaded once, and written as safetensors."""
        knobs = {
            "name": self.name,
            "revision": self.revision,
            "template": self.template,
            "remote_code": self.remote_code,
            "bits": self.bits,
        }
        return Origin("pretrained", knobs, {}, "")

    @classmethod
    def settle(cls, given: Mapping[str, Any], folder: Path, problem: Callable[[str, str], None]) -> dict[str, Any]:
        """A folder as the hash of its files, and a template's file as its text."""
        found = dict(given)
        try:
            found = _shelf.settled(given, folder)
        except HarnessError as error:
            problem("source", str(error))
        template = found.get("template", "")
        if isinstance(template, str) and template and template not in TEMPLATES and "{" not in template:
            found["template"] = _read(folder / template, template, problem)
        return found


def _read(file: Path, template: str, problem: Callable[[str, str], None]) -> str:
    """A template's text; its name where there is no such file, or none that can be read."""
    try:
        if file.is_file():
            return file.read_text(encoding="utf-8")
        known = f"{nearest(template, TEMPLATES)} (known: {', '.join(TEMPLATES)}, or a file)"
        problem("template", f"there is no template '{template}'{known}")
    except UnicodeDecodeError as error:
        problem("template", f"the file '{template}' is not UTF-8 (byte {error.start + 1}); save it as UTF-8")
    except (OSError, ValueError) as error:  # no right to it, or a name that no file can have
        problem("template", f"'{template}' cannot be read: {getattr(error, 'strerror', None) or error}")
    return template
