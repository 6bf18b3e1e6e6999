"""Every leaf of every configuration is read by something.

A key of a node is an argument of its class: the constructor computes with it, or stores it where a method, or whoever
holds the object, looks at it. A key of the root is asked of the configuration by name, or referred to as ${key}. That
is read from the source: what is computed is not judged. Of classes of others the signature alone is known.
"""

import ast
import inspect
import re
import textwrap
from functools import cache
from pathlib import Path

import pytest
from hydra.utils import get_object

import denoiselab
from denoiselab import build, check
from denoiselab.files import CONF
from denoiselab.names import OVERLAYS, files, groups, keys, known

OURS = ("denoiselab.", "hydra_plugins.")
SOURCE = Path(denoiselab.__file__).parent
HYDRAS = {"_target_", "_partial_"}  # words that Hydra reads


@cache
def trees() -> list[ast.Module]:
    return [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(SOURCE.rglob("*.py"))]


def nodes(node, where=""):
    """(where, node) of every node with a `_target_`."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if isinstance(node, dict) and "_target_" in node:
        yield where, node
    for key, value in pairs:
        yield from nodes(value, f"{where}.{key}")


NODES = [(f"{group}={choice}{where}", node) for group, choice, content in files() for where, node in nodes(content)]


# -- arguments


def loads(tree: ast.AST, name: str) -> list[ast.Name]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)]


def stored(tree: ast.AST, name: str) -> list[tuple[str, ast.Name]]:
    """(attribute, load) of every `self.attribute = ...` of `name`, alone or in a tuple."""
    found = []
    for node in ast.walk(tree):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            pairs = zip(target.elts, node.value.elts, strict=True) if both else [(target, node.value)]
            found += [(t.attr, load) for t, v in pairs if isinstance(t, ast.Attribute) for load in loads(v, name)]
    return found


class Unguarded(ast.NodeTransformer):
    """A constructor without its refusals: who only judges a value does not use it."""

    def visit_If(self, node):
        return None if all(isinstance(s, ast.Raise) for s in node.body) else self.generic_visit(node)

    def visit_Expr(self, node):
        return node if "super()" in ast.unparse(node) else None


def seen(tree: ast.AST, attribute: str) -> list[str]:
    """The objects whose attribute is looked at."""
    return [ast.unparse(n.value) for n in ast.walk(tree)
            if isinstance(n, ast.Attribute) and n.attr == attribute and isinstance(n.ctx, ast.Load)]  # fmt: skip


@cache
def outside() -> frozenset[str]:
    """Every attribute that is looked at of anything but `self`."""
    return frozenset(n.attr for tree in trees() for n in ast.walk(tree) if isinstance(n, ast.Attribute)
                     and isinstance(n.ctx, ast.Load) and ast.unparse(n.value) != "self")  # fmt: skip


def is_read(kind: type, argument: str) -> bool:
    """Does a class use an argument of its constructor? The constructors that it is handed on to are asked too."""
    own = [ast.parse(textwrap.dedent(inspect.getsource(k))) for k in kind.__mro__ if k.__module__.startswith(MODULES)]
    made = [n for tree in own for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "__init__"
            and argument in [a.arg for a in [*n.args.args, *n.args.kwonlyargs]]]  # fmt: skip
    return bool(made) and all(used(Unguarded().visit(init), argument, own) for init in made)


def used(init: ast.FunctionDef, argument: str, classes: list[ast.Module]) -> bool:
    kept = stored(init, argument)
    if len(loads(init, argument)) > len(kept):
        return True
    return any(attribute in outside() or any("self" in seen(tree, attribute) for tree in classes)
               for attribute, _ in kept)  # fmt: skip


MODULES = (*OURS, __name__)


@pytest.mark.parametrize("where, node", NODES, ids=[where for where, _ in NODES])
def test_every_argument_is_read(where, node):
    target = node["_target_"]
    names = [key for key in node if key not in (*HYDRAS, "defaults")]
    assert set(names) <= set(check.arguments(target)[0]), where
    if target.startswith(OURS) and inspect.isclass(kind := get_object(target)):
        assert not [name for name in names if not is_read(kind, name)]


def test_what_is_given_to_the_saver_is_read():
    names = [key.partition(".")[2] for key in known() if key.startswith("checkpoint.")]
    assert len(names) > 1
    assert set(names) <= set(check.arguments(check.SAVER)[0])
    assert not [name for name in names if not is_read(get_object(check.SAVER), name)]


FORGOTTEN = ["unread", "stored_and_forgotten", "judged", "dropped"]


class Base:
    def __init__(self, handed, dropped=0):
        self.half = handed / 2


class Planted(Base):
    """What is read, and what is not."""

    def __init__(self, handed, kept, looked_at_elsewhere, unread, stored_and_forgotten, judged, dropped=0):
        super().__init__(handed, dropped)
        if judged < 0:
            raise ValueError(judged)
        print(judged)
        self.kept, self.forgotten_of_planted = 2 * kept, stored_and_forgotten
        self.shape = looked_at_elsewhere

    def twice(self):
        return self.kept + self.half


def test_a_leaf_that_nothing_reads_is_found():
    names = list(inspect.signature(Planted).parameters)
    assert [name for name in names if not is_read(Planted, name)] == FORGOTTEN


# -- the root


def asked(tree: ast.AST) -> set[str]:
    """What a configuration is asked for: `config["x"]`, `config.x`, or `config` and "x" in one call, or in one
    for each of several; of a node in it `config["x"]["y"]`, or `x["y"]`: as "x.y"."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            base = re.sub(r"""(\w+\.)*config\[['"](\w+)['"]\]""", r"\2", ast.unparse(node.value))
            found.add(f"{base}.{node.slice.value}".removeprefix("config.").removeprefix("here.config."))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "config":
            found.add(node.attr)
        if isinstance(node, ast.Call):
            words = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            objects = [*map(ast.unparse, node.args), ast.unparse(node.func)]
            if any(re.search(r"\bconfig$|\bconfig\.get$", o) for o in objects):
                found |= set(words)
        if isinstance(node, ast.GeneratorExp) and re.search(r"\(config, \w+", ast.unparse(node.elt)):
            found |= {c.value for g in node.generators for c in ast.walk(g.iter) if isinstance(c, ast.Constant)}
    return found


def referred() -> set[str]:
    """Every ${key} of the shipped files."""
    return {key for file in CONF.rglob("*.yaml") for key in re.findall(r"\$\{([\w.]+)\}", file.read_text("utf-8"))}


def test_every_key_of_the_root_is_read():
    read = referred().union(*map(asked, trees()))
    [content] = [content for group, _, content in files() if not group]
    roots = {key for key in keys(content) if key.partition(".")[0] not in ("hydra", "defaults", "checkpoint")}
    roots = {key for key in roots if not isinstance(content[key.partition(".")[0]], dict) or "." in key}
    roots -= {f"data.{key}" for key in build.FOLDS}  # read where data are made
    assert roots > {"seed", "monitor.mode", "rerun"}
    assert not roots - read
    assert "checkpoint" in read


def test_a_key_of_the_root_that_nothing_reads_is_found():
    source = 'f(config["read"], monitor["way"], config["of"]["it"]); make(config, "part"); config.get("some"); x["no"]'
    found = asked(ast.parse(source))
    assert found >= {"read", "monitor.way", "of.it", "part", "some"}
    assert "no" not in found


def test_every_group_is_read():
    tops = {key.partition(".")[0] for key in referred()}
    assert groups() == tops & groups() | {*check.DIRECT}


def test_every_direct_group_is_asked_for():
    read = set().union(*map(asked, trees()))
    assert {*check.DIRECT} - {*OVERLAYS} <= read


@pytest.mark.parametrize("group, choice", [(g, c) for g, c, _ in files() if g in OVERLAYS])
def test_an_overlay_changes_keys_that_are_there(group, choice):
    [content] = [content for g, c, content in files() if (g, c) == (group, choice)]
    own = {key: value for key, value in content.items() if key != "defaults"}
    if "_target_" in own:  # a part in the place of none: what the package names is a key
        [package] = re.findall(r"# @package (.*)\n", (CONF / group / f"{choice}.yaml").read_text(encoding="utf-8"))
        assert package in known()
    else:
        assert {*keys(own)} - {*groups()} <= {*known()}


def test_every_key_of_hydra_is_read_by_it():
    [content] = [content for group, _, content in files() if not group]
    assert {*keys(content["hydra"], "hydra")} <= {*check.hydras()}
