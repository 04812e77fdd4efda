"""Tuning: knobs are chosen by the selection reward on the `tune` prompts, with the same budget for every contestant.

A trial is a contestant with other knobs, so its stages are ordinary ones: the same cache, executors and records.
"""
