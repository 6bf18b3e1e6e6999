"""Safe checkpoints: tensors and JSON in one safetensors file, with a digest over both. No pickle, ever.

The tree that Lightning saves is JSON (`state` in the file's header) in which a tensor is a mark with its name. `sha256`
beside it covers the state and every tensor's name, type, shape and bytes: a flipped bit anywhere, or a cut, is
`Damaged`. A file is written beside its target, synced and renamed: it is there whole or not at all.

JSON knows neither tuples, nor keys that are no strings, nor Python's ordered and counting dicts (which torch's modules
and schedulers save): marks carry them. Anything else is a TypeError that names it and its place.

Tensors come back on the CPU, without gradients, and share memory where they did; `load_state_dict` moves them. An
OrderedDict loses torch's `_metadata`, the versions of module classes. Sharded checkpoints are not promised.
"""

import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from denoiselab.files import replacing

SCALARS = (type(None), str, int, float, bool)
MAPPINGS = {"__items__": dict, "__ordered__": OrderedDict, "__counter__": Counter}
MARKS = {kind: mark for mark, kind in MAPPINGS.items()}


# What safetensors, torch and JSON raise for bytes that are not theirs: types, shapes and names that are none, a nesting
# without end (RecursionError, which is a RuntimeError), texts that are no JSON (ValueError).
UNREADABLE = (SafetensorError, LookupError, TypeError, ValueError, RuntimeError, AttributeError)


class Damaged(ValueError):
    """A checkpoint that is not what was written."""


class Packer:
    """A tree of containers, scalars and tensors to JSON; the tensors gather in `tensors`, each once."""

    def __init__(self):
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[tuple, str] = {}
        self.storages: set[int] = set()

    def __call__(self, value, place: str):
        kind = type(value)
        if kind in SCALARS:
            return value
        if kind in (Tensor, nn.Parameter) and value.layout is torch.strided and not value.is_quantized:
            return {"__tensor__": self.name(value)}
        if kind is list:
            return [self(v, f"{place}[{i}]") for i, v in enumerate(value)]
        if kind is tuple:
            return {"__tuple__": [self(v, f"{place}[{i}]") for i, v in enumerate(value)]}
        if kind is dict and all(type(k) is str and not k.startswith("__") for k in value):
            return {k: self(v, f"{place}.{k}") for k, v in value.items()}
        if kind in MARKS:
            return {MARKS[kind]: [[self(k, f"a key of {place}"), self(v, f"{place}.{k}")] for k, v in value.items()]}
        raise TypeError(
            f"a checkpoint holds tensors and JSON alone, but {place} is a {kind.__module__}.{kind.__qualname__}: "
            f"{value!r:.80}"
        )

    def name(self, tensor: Tensor) -> str:
        # Tied weights are one tensor with two names. An empty tensor has no address of its own.
        address = tensor.data_ptr() if tensor.numel() else id(tensor)
        mark = (address, tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if mark not in self.names:
            self.names[mark] = str(len(self.tensors))
            here = tensor.detach().cpu().contiguous()
            # safetensors refuses views of one storage, such as two slices of a buffer.
            if here.untyped_storage().data_ptr() in self.storages:
                here = here.clone()
            self.storages.add(here.untyped_storage().data_ptr())
            self.tensors[self.names[mark]] = here
        return self.names[mark]


def unpack(value, tensors: dict[str, Tensor]):
    """The tree that a `Packer` made JSON of; ValueError, KeyError or TypeError for what none makes."""
    if isinstance(value, list):
        return [unpack(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    [mark, *more] = [key for key in value if key.startswith("__")] or [None]
    if mark is None:
        return {k: unpack(v, tensors) for k, v in value.items()}
    if more or len(value) > 1:
        raise ValueError(f"the mark {mark} is not alone")
    items = value[mark]
    if mark == "__tensor__":
        return tensors[items]
    if mark != "__tuple__" and mark not in MAPPINGS:
        raise ValueError(f"there is no mark {mark}")
    if not isinstance(items, list) or (mark != "__tuple__" and not all(isinstance(pair, list) for pair in items)):
        raise TypeError(f"the mark {mark} holds a list, of pairs where it is a dictionary")
    if mark == "__tuple__":
        return tuple(unpack(v, tensors) for v in items)
    return MAPPINGS[mark]({unpack(k, tensors): unpack(v, tensors) for k, v in items})


def digest(state: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the JSON and every tensor's name, type, shape and bytes."""
    sha = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            sha.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return sha.hexdigest()


def save(tree: dict, path: str | Path) -> None:
    """Writes a tree of dicts, lists, tuples, scalars and tensors; TypeError for anything else."""
    pack = Packer()
    state = json.dumps(pack(tree, "checkpoint"))
    with replacing(Path(path)) as temporary:
        save_file(pack.tensors, temporary, {"state": state, "sha256": digest(state, pack.tensors)})


def load(path: str | Path) -> dict:
    """Reads what `save` wrote; raises `Damaged` for any other file, or OSError (FileNotFoundError ...)."""
    with reading(path) as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        state = header["state"]
        if digest(state, tensors) != header["sha256"]:
            raise Damaged(f"{path} is damaged: its SHA-256 is not the one it was written with")
        # Whoever can write a file can write its digest: the state is still only what somebody says.
        tree = unpack(json.loads(state), tensors)
        if not isinstance(tree, dict):
            raise TypeError("its state is no dictionary")
        return tree


def digest_of(path: str | Path) -> str:
    """The SHA-256 that a checkpoint was written with, by which it can be named; `load` is who compares it. Raises as
    `load` does."""
    with reading(path) as file:
        return file.metadata()["sha256"]


@contextmanager
def reading(path: str | Path) -> Iterator[safe_open]:
    """A checkpoint's file; whatever is wrong with its content is `Damaged`."""
    if Path(path).is_dir():
        raise Damaged(f"{path} is damaged: it is a folder")
    try:
        with safe_open(path, "pt") as file:
            yield file
    except Damaged:
        raise
    except UNREADABLE as error:
        raise Damaged(f"{path} is damaged: {type(error).__name__}: {error}") from error


class SafeIO(CheckpointIO):
    """For `Trainer(plugins=[SafeIO()])`: Lightning saves and resumes through `save` and `load`."""

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        assert storage_options is None, "a file needs no storage options"
        save(checkpoint, path)

    def load_checkpoint(self, path, map_location=None, weights_only=None):
        return load(path)

    def remove_checkpoint(self, path):
        Path(path).unlink(missing_ok=True)
