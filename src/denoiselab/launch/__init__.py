"""Sweeps on this machine: a grid is checked whole, then each cell is trained in a process of its own."""
