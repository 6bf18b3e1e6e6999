"""Named arms: a file of variants that are no product, each crossed with what is swept. Imports no torch.

    - name: min_snr
      overrides: [weight=min_snr, optimizer.lr=2e-4]
    - name: plain
      overrides: []

The name of an arm is the key `arm` of its cells: in tables, and among what is typed of the run. A seed is no arm."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from denoiselab.run.secrets import redacted
from denoiselab.spec import Refused

# Keys of the command, and of none of its cells.
COMMAND = ("arms", "retry", "dry_run", "budget")
CLOSED = (*COMMAND, "arm", "trial", "outputs", "name", "hydra")  # not an arm's to say
NAME = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z][A-Za-z0-9._-]{0,60}", re.IGNORECASE)
REPEATS = {"seed": ("a seed", "seed=0,1,2"), "data.fold": ("a fold", "data.fold=range(5)")}
SEED = re.compile(r"(?:^|[^a-z])seeds?[_=.-]*\d", re.IGNORECASE)
KINDS = {type(None): "nothing", yaml.ScalarNode: "a word", yaml.MappingNode: "keys and values",
         yaml.SequenceNode: "a list"}  # fmt: skip
FORM = "a file of arms is a list of {name: WORD, overrides: [KEY=VALUE, ...]}"


class Arm(NamedTuple):
    name: str
    overrides: list[str]
    line: int


def key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def command_key(word: str) -> bool:
    return key(word).partition(".")[0] in COMMAND


def read(path: str) -> list[Arm]:
    """The arms of a file. Raises `Refused` with the line of the first mistake."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as e:
        raise Refused(f"arms={path} cannot be read", e, FORM) from e
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise Refused(f"{path}, line {line}, is no YAML", e.problem or e, FORM) from e
    except yaml.YAMLError as e:
        raise Refused(f"{path} is no YAML", e, FORM) from e
    if not isinstance(root, yaml.SequenceNode) or not root.value:
        raise Refused(
            f"{path}, line 1, is no list of arms",
            "an empty list" if isinstance(root, yaml.SequenceNode) else KINDS[type(root)],
            FORM,
        )
    arms: dict[str, Arm] = {}
    for node in root.value:
        arm = one(node, path)
        if arm.name in arms:
            raise mistake(path, node, f"there are two arms {arm.name!r}", arm.name,
                          f"rename one: the other is in line {arms[arm.name].line}")  # fmt: skip
        arms[arm.name] = arm
    return list(arms.values())


def mistake(path: str, node: yaml.Node, what: str, got: object, fix: str) -> Refused:
    return Refused(f"{path}, line {node.start_mark.line + 1}: {what}", redacted(str(got)), fix)


def plain(node: yaml.Node) -> str:
    """A node in words."""
    return node.value if isinstance(node, yaml.ScalarNode) else KINDS[type(node)]


def one(node: yaml.Node, path: str) -> Arm:
    if not isinstance(node, yaml.MappingNode):
        raise mistake(path, node, "an arm has a name and overrides", plain(node), FORM)
    fields = {plain(name): value for name, value in node.value}
    for name, _ in node.value:
        if plain(name) not in ("name", "overrides"):
            raise mistake(path, name, "an arm has a name and overrides, and nothing else", plain(name), FORM)
    for field, kind in (("name", yaml.ScalarNode), ("overrides", yaml.SequenceNode)):
        if field not in fields:
            raise mistake(path, node, f"an arm has {field}", ", ".join(fields), FORM)
        if not isinstance(fields[field], kind):
            raise mistake(path, fields[field], f"an arm has {field}", KINDS[type(fields[field])], FORM)
    name = fields["name"].value
    if not NAME.fullmatch(name):
        fix = "letters, digits, `.`, `_` and `-`, the first of them a letter"
        raise mistake(path, fields["name"], "the name of an arm is a plain word", repr(name), fix)
    if SEED.search(name):
        fix = "leave it out: seed=0,1,2 on the command line crosses every arm with seeds"
        raise mistake(path, fields["name"], "a seed is no part of an arm's name", name, fix)
    words = [override(item, path) for item in fields["overrides"].value]
    keys = [key(word) for word in words]
    for item, word in zip(fields["overrides"].value, keys, strict=True):
        if keys.count(word) > 1:
            raise mistake(path, item, f"the arm says {word} twice", item.value, "leave one of them out")
    return Arm(name, words, node.start_mark.line + 1)


def override(node: yaml.Node, path: str) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    word = plain(node)
    if not isinstance(node, yaml.ScalarNode) or not ("=" in word or word.startswith("~")):
        raise mistake(path, node, "an override is KEY=VALUE", plain(node), "quote what YAML would take")
    try:
        parsed = OverridesParser.create().parse_override(word)
    except HydraException as e:
        raise mistake(path, node, "an override is KEY=VALUE", word, "quotes around a VALUE of several words") from e
    if key(word) in REPEATS:
        what, fix = REPEATS[key(word)]
        raise mistake(path, node, f"{what} is an axis, and no part of an arm", word, f"{fix} on the command line")
    if parsed.is_sweep_override():
        fix = "make an arm of each value, or sweep it on the command line"
        raise mistake(path, node, "an arm is one variant, and no sweep", word, fix)
    if re.split(r"[./]", key(word))[0] in CLOSED:
        fix = f"give {key(word)} on the command line"
        raise mistake(path, node, "this is no key of an arm's", word, fix)
    return word


def crossed(path: str | None, cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each arm of a file with each cell; the cells themselves without one. What an arm says, nothing else may."""
    if path is None:
        return [list(cell) for cell in cells]
    arms = read(path)
    typed = {key(word): word for cell in cells for word in cell}
    for arm in arms:
        for word in arm.overrides:
            if key(word) in typed:
                raise Refused(f"{path}, line {arm.line}: arm {arm.name} and the command line both say {key(word)}",
                              redacted(f"{word} and {typed[key(word)]}"), "leave one of them out")  # fmt: skip
    return [[f"arm={arm.name}", *arm.overrides, *cell] for arm in arms for cell in cells]


def named(path: str | None, cells: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """Each cell as it is shown: an arm by its name, without what it stands for."""
    arms = {f"arm={arm.name}": {*arm.overrides} for arm in read(path)} if path is not None else {}
    for cell in cells:
        hidden = set().union(*(arms.get(word, ()) for word in cell))
        yield [word for word in cell if word not in hidden]
