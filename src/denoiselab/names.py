"""The names that a configuration can have, and those near a misspelt one. Imports no torch, and no Hydra.

A name is near another if few letters are put in, left out, replaced or swapped between neighbors (the distance of
Damerau, 1964, in the form that edits no letter twice). A key is judged by its whole dotted path, or by its last name.
"""

import functools
from collections.abc import Iterable, Iterator

import yaml

from denoiselab.files import CONF

OVERLAYS = ("experiment", "debug", "speed", "common_damage")  # groups that leave no key of their own
SHOWN = 3  # names in a message


@functools.cache
def groups() -> frozenset[str]:
    """Every group that has choices, Hydra's own apart."""
    return frozenset(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")


def choices(group: str) -> list[str]:
    """The shipped choices of a group; none where there is no such group."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


@functools.cache
def files() -> list[tuple[str, str, dict]]:
    """Group, choice and content of every shipped file; the group of the root's is empty."""
    # The loader in C is several times as fast, where it was built.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    paths = {file: file.parent.relative_to(CONF).as_posix() for file in sorted(CONF.rglob("*.yaml"))}
    return [("" if group == "." else group, file.stem, yaml.load(file.read_bytes(), loader) or {})
            for file, group in paths.items()]  # fmt: skip


@functools.cache
def known() -> dict[str, list[str]]:
    """Every dotted key of the shipped configurations, to the choices that have it; `[]`: there whatever is chosen."""
    found: dict[str, list[str]] = {}
    for group, choice, content in files():
        if group:
            found.setdefault(group, [])
        if group not in OVERLAYS:
            own = {key: value for key, value in content.items() if key != "defaults"}
            inner = list(chosen_within(group, content)) if group else []
            for word, path, below in inner:
                own[path] = below
                found.setdefault(word, []).append(f"{group}={choice}")
            for key in keys(own, group.replace("/", ".")):
                found.setdefault(key, []).extend([f"{group}={choice}"] if group else [])
    return found


def chosen_within(group: str, content: dict) -> Iterator[tuple[str, str, dict]]:
    """What a choice takes from other groups by its defaults list: the word that chooses another, where it lies, and
    the content."""
    for entry in content.get("defaults", []):
        for word, choice in entry.items() if isinstance(entry, dict) else ():
            other, _, path = word.lstrip("/").partition("@")
            if path:
                below = {key: value for key, value in contents()[other, choice].items() if key != "defaults"}
                yield f"{other}@{group}.{path}", path, below


@functools.cache
def contents() -> dict[tuple[str, str], dict]:
    """The content of each choice."""
    return {(group, choice): content for group, choice, content in files()}


@functools.cache
def targets() -> frozenset[str]:
    """Every class and function that a shipped configuration names."""
    return frozenset(found for _, _, content in files() for found in named(content))


def named(node) -> Iterator[str]:
    """The `_target_`s of a node and below it."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if key == "_target_":
            yield value
        yield from named(value)


def keys(node, where: str = "") -> Iterator[str]:
    """The dotted keys below a node, those of nodes among them."""
    for key, value in node.items() if isinstance(node, dict) else ():
        path = f"{where}.{key}" if where else str(key)
        yield path
        yield from keys(value, path)


def distance(a: str, b: str) -> int:
    """Letters to put in, leave out, replace or swap with a neighbor, to make `b` of `a`."""
    before, last = [], list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """The nearest names, three at most; none where all are far. The same last name in another place is as near as one
    letter, and its own misspellings follow."""
    leaf, most = word.rpartition(".")[2], max(1, len(word) // 2)
    few = len(leaf) // 3
    scores = {}
    for name in names:
        last = name.rpartition(".")[2]
        elsewhere = last != name and abs(len(last) - len(leaf)) <= few and distance(leaf, last) <= few
        if elsewhere or abs(len(name) - len(word)) <= most:
            whole = distance(word, name)
            score = min(whole, 1 + distance(leaf, last)) if elsewhere else whole
            if elsewhere or whole <= most:
                scores[name] = score, whole, name
    best = min(scores.values(), default=(0,))[0]
    return sorted((name for name, score in scores.items() if score[0] <= best + 1), key=scores.get)[:SHOWN]


def advice(word: str, names: Iterable[str], otherwise: str = "") -> str:
    """The fix of a misspelt word: the nearest names; else what is said `otherwise`, or all of them."""
    names = sorted(names)
    best = nearest(word, names)
    return (
        f"did you mean {' or '.join(best)}?"
        if best
        else otherwise or f"choose {'one of ' * (len(names) > 1)}{', '.join(names)}"
    )


def suggestion(key: str, more: Iterable[str] = ()) -> str:
    """The fix of a dotted key that is not there: the choices that have it, or the nearest among all keys and `more`."""
    if having := known().get(key):
        return f"{' or '.join(having[:SHOWN])} has it"
    return advice(key, {*known(), *more} - {key}, "denoiselab train --cfg job shows every key")
