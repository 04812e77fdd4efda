"""Intervals, verdicts and sample sizes; `docs/statistics.md` says what is computed and how well it is calibrated."""
