"""Comparing runs: what was varied, how each arm did over its seeds, and which differences are real."""
