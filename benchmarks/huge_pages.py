"""What huge pages save where logits over a large vocabulary are taken and given back, on one CPU thread.

python benchmarks/huge_pages.py             pairs of processes, without and with the switch that workers have on
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

PAIRS, STEPS, TOKENS, WIDTH, VOCABULARY = 3, 12, 640, 64, 49_152
SWITCH = "THP_MEM_ALLOC_ENABLE"


def work() -> None:
    """Log-probabilities of tokens and their gradient, as every loss takes them."""
    import resource

    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, requires_grad=True)
    head = torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    for _ in range(STEPS):
        torch.log_softmax(hidden @ head.T, -1)[:, 0].sum().backward()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "system": used.ru_stime, "mib": used.ru_maxrss / 1024}))


def main() -> None:
    found: dict[str, list[dict[str, float]]] = {"0": [], "1": []}
    for _ in range(PAIRS):
        for switch, rows in found.items():
            command = [sys.executable, __file__, "work"]
            done = subprocess.run(command, env={**os.environ, SWITCH: switch}, capture_output=True, check=True)
            rows.append(json.loads(done.stdout))
    for switch, rows in found.items():
        middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        print(
            f"{SWITCH}={switch}: {middle['cpu']:.1f} s of CPU, {middle['system']:.1f} of them in the kernel, {middle['mib']:.0f} MiB"
        )
    ratio = statistics.median(on["cpu"] / off["cpu"] for off, on in zip(found["0"], found["1"], strict=True))
    print(f"ratio of CPU, median of {PAIRS} pairs: {ratio:.2f}")


if __name__ == "__main__":
    work() if sys.argv[1:] == ["work"] else main()
