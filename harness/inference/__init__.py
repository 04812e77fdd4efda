"""Load, render, sample and score: what a model does once it is there."""
