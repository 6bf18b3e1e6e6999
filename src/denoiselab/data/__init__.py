"""Data: where clean samples come from. `base` has the theory."""
