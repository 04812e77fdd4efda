"""`harness reproduce`: a published comparison again, from nothing."""

from __future__ import annotations

import json
from pathlib import Path

from harness.commands.run import finish
from harness.errors import HarnessError, nearest
from harness.provenance import made_by
from harness.recipe import read_recipe
from harness.store import Store


def reproduce_published(name: str, results: Path, into: Path) -> int:
    """Run it in a fresh folder and compare every measurement. Returns the exit code: 0 where all are equal."""
    home = results / "published" / name
    if not (home / "recipe.toml").exists():
        known = sorted(path.parent.name for path in (results / "published").glob("*/recipe.toml"))
        have = f"known: {', '.join(known)}" if known else f"there is none in {home.parent}"
        raise HarnessError(f"{home}: there is no published comparison of that name{nearest(name, known)} ({have})")
    fresh = Store(into / name)
    finish(read_recipe(home / "recipe.toml"), fresh)
    published = {file.parent.name: json.loads(file.read_text()) for file in home.glob("*/record.json")}
    differing, compared, versions = [], 0, set()
    for stage, old in published.items():
        new = fresh.record(stage)
        if new is None:
            differing.append(f"{stage}: is not there; this code gives the recipe other stages, or it failed")
            continue
        versions |= {
            f"{package} {version} (published: {old['made_by']['packages'].get(package)})"
            for package, version in made_by()["packages"].items()
            if old["made_by"]["packages"].get(package) != version
        }
        before = {m["metric"]: m["value"] for m in old["measurements"]}
        for item in new["measurements"]:
            compared += 1
            if before.get(item["metric"]) != item["value"]:
                differing.append(f"{stage} {item['metric']}: {item['value']} (published: {before.get(item['metric'])})")
    print(f"{compared} numbers compared, {len(differing)} differ")
    for line in (*sorted(versions), *differing[:20]):
        print(f"  {line}")
    if not compared:
        raise HarnessError(f"{home}: it holds no records to compare with")
    return 1 if differing else 0
