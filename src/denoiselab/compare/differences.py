"""The keys of the resolved configurations in which arms differ."""

import json
from collections.abc import Iterator, Sequence

from denoiselab.compare.read import APART, HIDDEN
from denoiselab.compare.table import Group

VARIOUS = "(not the same in all runs of the arm)"


def differences(found: Sequence[Group]) -> list[dict]:
    """Each key that is not the same in all arms, with an arm's value each (an empty text where an arm lacks the key),
    in the order of the configuration. `also` names the keys that go with it: a part is found at several places."""
    arms = [of(group) for group in found]
    keys = dict.fromkeys(key for arm in arms for key in arm)
    known: dict[tuple[str, ...], dict] = {}
    for key in keys:
        values = tuple(arm.get(key, "") for arm in arms)
        if len(set(values)) == 1:
            continue
        if values in known:
            known[values]["also"].append(key)
        else:
            known[values] = {"key": key, "also": [], "values": list(values)}
    for line in known.values():  # named by its shortest path
        line["key"], *line["also"] = sorted([line["key"], *line["also"]], key=lambda key: (key.count("."), len(key)))
    return list(known.values())


def of(group: Group) -> dict[str, str]:
    first, *others = [dict(leaves(row.config)) for row in group.known]
    for other in others:
        if other != first:
            first = {key: first.get(key) if first.get(key) == other.get(key) else VARIOUS for key in first | other}
    return first


def leaves(node, where: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and what they say, but for what changes no result."""
    for key, value in node.items():
        path = f"{where}.{key}" if where else str(key)
        if path in APART or f"{path}.".startswith(HIDDEN):
            continue
        if isinstance(value, dict) and value:
            yield from leaves(value, path)
        else:
            yield path, value if isinstance(value, str) else json.dumps(value, default=str)
