"""Is a configuration what its classes take? Asked before anything is made, with the nearest names.

Every key of a node with a `_target_` is an argument of that class, and its value is of the annotated type; a key of the
root is a group, or one of the few in `ROOT`; every number is finite. What cannot be judged passes. Ranges are judged by
the constructors. On the command line, what no chosen part reads is refused, and what Hydra would take in silence.
"""

from denoiselab.check.nodes import HYDRAS, arguments, fits, leaves, node, wrong
from denoiselab.check.typed import hydra, hydras, read
from denoiselab.check.whole import COLLECTIONS, DIRECT, ROOT, SAVER, TOP, config, root

__all__ = [
    "COLLECTIONS", "DIRECT", "HYDRAS", "ROOT", "SAVER", "TOP", "arguments", "config", "fits", "hydra", "hydras",
    "leaves", "node", "read", "root", "wrong",
]  # fmt: skip
