"""Sample sizes: the known table, other people's code, and what they cost a login node."""

from __future__ import annotations

import subprocess
import sys

import pytest
from statsmodels.stats.power import TTestIndPower, TTestPower

from harness.stats.power import Noise, more_prompts, more_seeds, smallest_difference

TABLE = {3: (3.1, 5.6, 8.5), 5: (2.0, 3.0, 3.9), 8: (1.5, 2.1, 2.5), 10: (1.3, 1.8, 2.2)}


@pytest.mark.parametrize("n_seeds", TABLE)
def test_two_samples_as_tabulated(n_seeds):
    found = [smallest_difference(n_seeds, m, paired=False) for m in (1, 9, 45)]
    assert found == pytest.approx(TABLE[n_seeds], abs=0.05)


@pytest.mark.parametrize("n_seeds", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("m", [1, 6, 45])
def test_exact_by_statsmodels(n_seeds, m):
    unpaired = smallest_difference(n_seeds, m, 2.0, paired=False)
    paired = smallest_difference(n_seeds, m, 2.0)
    side = 0.05 / m / 2  # statsmodels has no value for the other side, which adds next to nothing
    found = TTestIndPower().power(unpaired / 2, n_seeds, side, alternative="larger")
    assert found == pytest.approx(0.8, abs=1e-3)
    found = TTestPower().power(paired / 2 / 2**0.5, n_seeds, side, alternative="larger")
    assert found == pytest.approx(0.8, abs=1e-3)


def test_one_seed_can_show_nothing():
    assert smallest_difference(1, 1) is None


def test_more_seeds_by_statsmodels_where_prompts_add_nothing():
    noise = Noise(run_a=1.0, run_b=0.0, cell_a=0.0, cell_b=0.0, prompt=0.0)
    for m in (1, 6):
        n = 5 + more_seeds(noise, 0.8, (5, 5), 100, 0.05 / m)
        exact = TTestPower().solve_power(0.8, alpha=0.05 / m, power=0.8)
        assert n - 1 < exact <= n


@pytest.mark.parametrize("m", [1, 6])
def test_the_detectable_difference_of_pairs_is_the_exact_one_where_prompts_add_nothing(m):
    noise = Noise(run_a=2.0, run_b=0.0, cell_a=0.0, cell_b=0.0, prompt=0.0)
    found = noise.detectable((5, 5), 100, 0.05 / m)
    assert found == pytest.approx(smallest_difference(5, m), rel=0.02)
    assert noise.power(found, (5, 5), 100, 0.05 / m) == pytest.approx(0.8, abs=1e-4)


def test_without_noise_any_difference_is_detectable():
    assert Noise(0.0, 0.0, 0.0, 0.0, 0.0).detectable((5, 5), 100, 0.05) == 0


def test_enough_already():
    quiet = Noise(0.01, 0.0, 0.01, 0.0, 0.01)
    assert more_seeds(quiet, 1.0, (5, 5), 100, 0.05) == 0
    assert more_prompts(quiet, 1.0, (5, 5), 100, 0.05) == 0


def test_what_cannot_help_says_so():
    by_seed = Noise(1.0, 0.0, 0.5, 0.0, 0.0)
    assert more_prompts(by_seed, 0.3, (5, 5), 100, 0.05) is None
    assert more_seeds(by_seed, 0.3, (5, 5), 100, 0.05) > 0
    by_prompt = Noise(0.0, 0.0, 0.5, 0.0, 9.0)
    assert more_seeds(by_prompt, 0.3, (5, 5), 100, 0.05) is None
    assert more_prompts(by_prompt, 0.3, (5, 5), 100, 0.05) > 0


@pytest.mark.parametrize("side", [0.0, 0.2])
def test_fewest_is_fewest(side):
    noise = Noise(0.2, side, 1.0, side, 0.5)
    n = more_seeds(noise, 0.3, (5, 5), 200, 0.01)
    p = more_prompts(noise, 1.6, (5, 5), 2, 0.01)
    assert noise.power(0.3, (5 + n, 5 + n), 200, 0.01) >= 0.8 > noise.power(0.3, (4 + n, 4 + n), 200, 0.01)
    assert noise.power(1.6, (5, 5), 2 + p, 0.01) >= 0.8 > noise.power(1.6, (5, 5), 1 + p, 0.01)


def test_power_without_noise():
    nothing = Noise(0.0, 0.0, 0.0, 0.0, 0.0)
    assert nothing.power(0.1, (2, 2), 10, 0.05) == 1.0
    assert nothing.power(0.0, (2, 2), 10, 0.05) == 0.0


def test_importing_it_costs_nothing():
    code = (
        "import sys, harness.stats.power; print([m for m in ('numpy', 'scipy', 'pandas', 'torch') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    code = (
        "import sys; from harness.stats.power import *; smallest_difference(5, 6); print('scipy.stats' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
