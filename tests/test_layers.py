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
    {"errors", "keys", "causes", "near", "public", "held", "cache"},
    {"registry", "knobs", "hub"},
    {"metrics", "data", "job", "models", "inference", "trust", "judges"},
    {"training"},
    {"algorithms"},
    {
        "recipe",
        "recipe_reader",
        "recipe_contestants",
        "recipe_judges",
        "recipe_launch",
        "launch",
        "recipe_rewards",
        "recipe_benchmarks",
        "recipe_tune",
        "recipe_search",
        "recipe_metrics",
        "recipe_hypotheses",
        "claims",
        "locate",
        "stages",
    },
    {"plan", "layout", "judging", "memory", "held_out", "store", "lease", "execute", "executors", "provenance"},
    {"dispatch", "search"},
    {"report", "records", "stats"},
    {"cli", "commands", "endings", "__main__"},
]


def layer_of(module: str) -> int | None:
    """The layer of `harness.<top>...`; None for a module that no layer lists."""
    top = module.split(".")[1] if "." in module else ""
    return next((level for level, names in enumerate(LAYERS) if top in names), None)


def imports_of(source: str) -> list[str]:
    """Every `harness...` module that a source imports, inside functions too; a name in an annotation is no import."""
    tree = ast.parse(source)
    annotations = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in annotations:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "harness":
            found += [f"harness.{alias.name}" for alias in node.names if not alias.name.startswith("__")]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return [name for name in found if name.startswith("harness.")]


def upward(module: str, source: str) -> list[str]:
    """Imports of a module that point up."""
    own = layer_of(module)
    if own is None:
        return [f"{module} is in no layer"]
    bad = []
    for name in imports_of(source):
        target = layer_of(name)
        if target is None:
            bad.append(f"{module} imports {name}, which is in no layer")
        elif target > own:
            bad.append(f"{module} imports {name}, which is above it")
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
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
