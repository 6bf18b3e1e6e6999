"""Evaluation: what a trained cell is worth. `evaluate` gathers the evidence, `metrics` judge it, `figures` show it."""
