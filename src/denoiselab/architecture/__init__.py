"""Architectures: plans of networks. `base` has the contract."""
