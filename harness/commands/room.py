"""What training will take in memory, and whether it is there: told by `harness plan`, before anything is spent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import defaultdict
from typing import Any

from harness.job import Budget
from harness.launch import asked
from harness.memory import LOADED, Shape, known_shape, root_of, training_bytes
from harness.plan import Plan
from harness.stages import Train
from harness.stages.specs import open_algorithm
from harness.store import Store


def expected(plan: Plan, store: Store) -> tuple[list[dict[str, Any]], list[str]]:
    """Estimates by algorithm, the largest first, and warnings about those for which there is no room.

    An estimate is the peak beyond a process that has made its imports, for rows that fill the budget's lengths; of an
    algorithm's several forms the largest. `bytes` is None where the model's configuration is not on this machine.
    """
    gpu, shapes, most = gpu_bytes(), dict[str, Shape | None](), dict[str, dict[str, Any]]()
    for stage in _distinct(plan):
        root, name = root_of(stage).name, stage.algorithm["name"]
        if root not in shapes:
            shapes[root] = known_shape(stage, store)
        model, algorithm, budget = shapes[root], open_algorithm(stage.algorithm), Budget(**stage.budget)
        room, where, device = _room(plan, stage, gpu)
        size = training_bytes(model, algorithm, budget, device) if model else None
        if name not in most or (size or 0) > (most[name]["bytes"] or 0):
            most[name] = {"algorithm": name, "bytes": size, "room": room, "where": where}
    ordered = sorted(most.values(), key=lambda one: -(one["bytes"] or 0))
    return ordered, _warnings([one for one in ordered if one["bytes"] and one["room"] and one["bytes"] > one["room"]])


def by_size(found: list[dict[str, Any]]) -> str:
    """Algorithms by their estimates, for example `7.7 GB rloo, ppo; 7.2 GB dpo`."""
    sizes: dict[str, list[str]] = defaultdict(list)
    for one in found:
        sizes[gigabytes(one["bytes"])].append(one["algorithm"])
    return "; ".join(f"{size} {', '.join(names)}" for size, names in sizes.items())


def _distinct(plan: Plan) -> list[Train]:
    """Trainings on data that differ in more than their seed."""
    found: dict[str, Train] = {}
    for stage in plan.stages():
        if isinstance(stage, Train) and stage.dataset:
            found.setdefault(json.dumps([stage.algorithm, stage.budget, root_of(stage).name], sort_keys=True), stage)
    return list(found.values())


def gigabytes(size: float) -> str:
    """A size to read: 3.7 GB, 0.05 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e9:.2f} GB"


def gpu_bytes() -> int:
    """Memory of the smallest GPU here; 0 without one. Nothing is imported for it."""
    if not shutil.which("nvidia-smi"):
        return 0
    words = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout
        return min((int(line) for line in said.split()), default=0) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0


def _warnings(narrow: list[dict[str, Any]]) -> list[str]:
    """One for each place that has too little room."""
    places: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for one in narrow:
        places[one["room"], one["where"]].append(one)
    cure = "a smaller budget.micro_batch, shorter lengths, budget.lora_rank or fewer launch.workers take less"
    return [
        f"{where} has room for {gigabytes(max(0, room))}; training is estimated to take {by_size(found)}: {cure}"
        for (room, where), found in places.items()
    ]


def _room(plan: Plan, stage: Train, gpu: int) -> tuple[int, str, str]:
    """Bytes that a training may take beyond its loaded process, 0 where nobody knows; where that is; and the device."""
    launch = plan.recipe.launch
    if launch.executor == "slurm":
        wanted = asked(launch.resources, stage.spec)
        if wanted.gpus:
            return int(wanted.gpu_memory_gb * 2**30), "each GPU of a job", "cuda"
        room = int(wanted.memory_gb * 2**30 - LOADED * wanted.processes_per_node) if wanted.memory_gb else 0
        return room, "a job", "cpu"
    if gpu:
        return gpu, "the GPU", "cuda"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = launch.workers or max(1, cores // plan.recipe.budget.threads)
    workers = 1 if launch.executor == "inline" else workers
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(whole / workers - LOADED), f"each of {workers} workers" if workers > 1 else "this machine", "cpu"
