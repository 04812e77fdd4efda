"""An import points down only, and what a login node imports never pulls in torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "harness"

# From the bottom up; a module may import its own layer and those below it.
LAYERS = [
    {"errors", "keys"},
    {"registry", "executors", "knobs"},
    {"metrics", "data", "job", "models"},
    {"training"},
    {"algorithms"},
    {"recipe", "locate", "stages"},
    {"plan", "store", "lease", "execute", "causes", "provenance"},
    {"dispatch"},
    {"report", "records", "stats"},
    {"cli", "commands"},
]
# The worker behind an executor runs a stage: it reaches up on purpose, at run time only.
BASE_CLASSES = {"algorithms", "data", "metrics", "models"}  # packages whose __init__ holds only an interface


def layer_of(module: str) -> int | None:
    """The layer of `harness.<top>...`; None for a module that no layer lists."""
    top = module.split(".")[1] if "." in module else ""
    return next((level for level, names in enumerate(LAYERS) if top in names), None)


def imports_of(source: str) -> list[tuple[str, bool]]:
    """Every `harness...` module that a source imports, and whether only for type checking or inside a function."""
    tree = ast.parse(source)
    late = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "harness":
                found += [(f"harness.{alias.name}", id(node) in late) for alias in node.names]
            else:
                found.append((node.module, id(node) in late))
    return [(name, is_late) for name, is_late in found if name.startswith("harness.")]


def upward(module: str, source: str) -> list[str]:
    """Imports of a module that point up. Interfaces (a package's own `__init__`) may be used from anywhere."""
    own = layer_of(module)
    if own is None:
        return [f"{module} is in no layer"]
    bad = []
    for name, is_late in imports_of(source):
        target = layer_of(name)
        if target is None:
            bad.append(f"{module} imports {name}, which is in no layer")
        elif target > own and not (name.split(".")[-1] in BASE_CLASSES and len(name.split(".")) == 2):
            bad.append(f"{module} imports {name}, which is above it" + (" (late)" if is_late else ""))
    return bad


def modules() -> list[tuple[str, Path]]:
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]
    dotted = [".".join(("harness", *file.relative_to(PACKAGE).with_suffix("").parts)) for file in files]
    return [(name.removesuffix(".__init__"), file) for name, file in zip(dotted, files, strict=True)]


@pytest.mark.parametrize(("module", "file"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_down(module: str, file: Path) -> None:
    assert upward(module, file.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("harness.keys", "from harness.plan import make_plan"),
        ("harness.training.pairs", "def f():\n    from harness.records import read"),
        ("harness.unheard_of", ""),
        ("harness.data.lab", "import harness.cli"),
    ],
)
def test_the_layer_test_can_fail(module: str, source: str) -> None:
    assert upward(module, source) != []


def test_no_heavy_import_before_a_stage_runs() -> None:
    code = (
        "import sys, harness.cli, harness.plan, harness.recipe, harness.stages, harness.store, harness.dispatch;"
        "from harness import registry;"
        "[registry.load('algorithms', n) for n in registry.names('algorithms')];"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'pandas', 'scipy', 'numpy'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
