"""The whole product of choices, folded over what is agreed so far.

A part sees of a cell only what was agreed before it, so cells that agree on the same are one state: the product of
millions of cells is a graph of a few hundred states. Counted, drawn from and covered here, without a list of cells.
"""

import itertools
from collections import defaultdict
from functools import cache
from typing import NamedTuple

import numpy as np
from omegaconf import OmegaConf

from denoiselab import build
from denoiselab.configuration import groups
from denoiselab.files import CONF
from denoiselab.names import OVERLAYS
from denoiselab.spec import Refused, Spec

SPECS = {
    "image": Spec("image", (1, 6, 5), levels=((0.1, 0.3),), ends=(-1.0, 1.0)),
    "points": Spec("points", (2,)),
    "tokens": Spec("tokens", (6,), vocabulary=5, context=frozenset({"sentence"})),
}
GROUPS = ("kind", "schedule", "corruption", "parameterization", "posterior", "architecture", "times", "objective",
          "weight", "cost", "sampler")  # fmt: skip
TINY_PARTS = {
    "autoencoder": {"width": 8, "multipliers": [1, 2], "channels": 2},
    "mlp": {"width": 8, "layers": 1, "embedding": 4},
    "unet": {"width": 8, "multipliers": [1, 2], "attention": [2], "heads": 1},
    "transformer": {"width": 8, "layers": 1, "heads": 2},
    "encoder_decoder": {"width": 8, "layers": 1, "decoder_layers": 1, "heads": 2},
    "decoder": {"width": 8, "layers": 1, "heads": 2},
    **{f"{way}_{kind}": {"path": None, "model_type": of, "width": 8, "layers": 1, "heads": 2, "dropout": 0.0}
       for way in ("transformers", "pretrained") for kind, of in (("encoder", "bert"), ("seq2seq", "t5"))},
    "dit": {"width": 8, "layers": 1, "heads": 2, "patch": 1},
    "diffusers_unet": {"block_out_channels": [8], "attention": [1], "attention_head_dim": 4},
    **{sampler: {"steps": 3} for sampler in groups()["sampler"]
       if sampler not in ("one_shot", "autoregressive", "beam")},
}  # fmt: skip
# One choice of damage is of several kinds, by what it shows and asks: a name for each beside the group's own.
DAMAGES = {"damage:touched": {"where": "tokens", "shown": "mixed", "asked": "touched"},
           "damage:replaced": {"where": "tokens", "shown": "swapped", "asked": "replaced"},
           "damage:generated": {"where": "tokens", "shown": "generated", "asked": "all"}}  # fmt: skip
UNREAD = ""  # the choice of a group that the objective does not read


def loaded(group, choice):
    """A choice, with what its defaults list takes from others."""
    node = OmegaConf.load(CONF / group / f"{choice}.yaml")
    for entry in node.pop("defaults", []) if group not in OVERLAYS else ():
        for word, inner in entry.items() if OmegaConf.is_dict(entry) else ():
            other, _, path = word.lstrip("/").partition("@")
            node[path] = loaded(other, inner)
    return node


def content(group, choice):
    return OmegaConf.to_container(loaded(group, choice))


@cache
def part(group, choice, kind, **choices):
    """An instance of a choice, small; `choices` are those of the groups that it reads."""
    needed = {"grid": "even", "schedule": "cosine", "times": "grid", "conditioning": "none", "positions": "rotary",
              "where": "random_spans", "shown": "sentinels", "asked": "spans", **choices, group: choice}  # fmt: skip
    needed |= DAMAGES.get(choice, {}) | {group: choice.partition(":")[0]}
    config = OmegaConf.create({g: loaded(g, c) for g, c in needed.items()})
    config = OmegaConf.to_container(config, resolve=True)
    config[group] |= TINY_PARTS.get(choice, {})
    return build.make(config, group, SPECS[kind])


def objectives(kind):
    """(objective, weight, cost) and the part: weight and cost only where they are read."""
    for name in groups()["objective"]:
        text = str(content("objective", name))
        read = [list(groups()[g]) if f"${{{g}}}" in text else [UNREAD] for g in ("weight", "cost")]
        for weight, cost in itertools.product(*read):
            more = {g: c for g, c in (("weight", weight), ("cost", cost)) if c}
            yield (name, weight, cost), part("objective", name, kind, **more)


class Option(NamedTuple):
    """One choice at a level, or several at once: their names, in the order of GROUPS, and the part."""

    names: tuple[str, ...]
    part: object


def levels(kind):
    """The options of each level, in the order in which parts are asked."""
    yield [Option((s, c), part("corruption", c, kind, schedule=s))
           for s in groups()["schedule"] for c in (*groups()["corruption"], *DAMAGES)]  # fmt: skip
    for group in ("parameterization", "posterior", "architecture", "times"):
        yield [Option((c,), part(group, c, kind)) for c in groups()[group]]
    yield [Option(*one) for one in objectives(kind)]
    yield [Option((c,), part("sampler", c, kind)) for c in groups()["sampler"]]


class Cell(NamedTuple):
    """Names in the order of GROUPS, and parts in the order in which they are asked."""

    names: tuple[str, ...]
    parts: tuple


class Kind:
    """The product for one kind of data. `edges[level][state]` are the (option, next state) that are accepted."""

    def __init__(self, kind):
        self.kind, self.levels = kind, list(levels(kind))
        self.edges, self.refused = [], []
        front = {SPECS[kind]: Cell((kind,), ())}  # each state, and one way to it
        for options in self.levels:
            edges, following = {}, {}
            for state, way in front.items():
                edges[state] = []
                for i, option in enumerate(options):
                    whole = Cell(way.names + option.names, (*way.parts, option.part))
                    try:
                        then = option.part.accepts(state)
                    except Refused as e:
                        self.refused.append((whole, e))
                        continue
                    edges[state].append((i, then))
                    following.setdefault(then, whole)
            self.edges.append(edges)
            front = following
        # How many ways lead from each state to the end.
        self.ways = [dict.fromkeys(front, 1)]
        for edges in reversed(self.edges):
            after = self.ways[0]
            self.ways.insert(0, {state: sum(after[then] for _, then in out) for state, out in edges.items()})

    @property
    def cells(self):
        """How many valid cells there are."""
        return self.ways[0][SPECS[self.kind]]

    def drawn(self, rng, level=None, option=None, then=None, following=None):
        """A valid cell at random, all alike; with options that are fixed at one level or two, or None."""
        fixed = {level: option, then: following}
        ways = [dict.fromkeys(self.ways[-1], 1)]
        if level is None:
            ways = self.ways
        else:
            for i, edges in reversed(list(enumerate(self.edges))):
                only, after = fixed.get(i), ways[0]
                ways.insert(0, {state: sum(after[n] for o, n in out if only is None or o == only)
                                for state, out in edges.items()})  # fmt: skip
        state, names, parts = SPECS[self.kind], (self.kind,), ()
        if not ways[0][state]:
            return None
        for i, edges in enumerate(self.edges):
            only = fixed.get(i) if level is not None else None
            out = [(o, n) for o, n in edges[state] if only is None or o == only]
            weights = np.array([ways[i + 1][n] for _, n in out], dtype=float)
            o, state = out[rng.choice(len(out), p=weights / weights.sum())]
            names, parts = names + self.levels[i][o].names, (*parts, self.levels[i][o].part)
        return Cell(names, parts)

    def reached(self):
        """Every (level, option, later level, option) that some valid cell has, and (level, option) alone."""
        alone, together = set(), set()
        for i, edges in enumerate(self.edges):
            after = defaultdict(set)  # states to which each option leads, from where a cell may go on to the end
            for out in edges.values():
                for o, n in out:
                    if self.ways[i + 1][n]:
                        after[o].add(n)
            alone |= {(i, o) for o in after}
            for o, states in after.items():
                for j in range(i + 1, len(self.edges)):
                    found = [(o2, n) for state in states for o2, n in self.edges[j][state] if self.ways[j + 1][n]]
                    together |= {(i, o, j, o2) for o2, _ in found}
                    states = {n for _, n in found}
        return alone, together


def pairs(names):
    """Every two choices of a cell, each with its group."""
    return set(itertools.combinations(zip(GROUPS, names, strict=True), 2))


def covering(kinds, candidates=800):
    """Cells in which every valid pair of choices occurs, and those pairs: first always the candidate with most pairs
    that are new, then a cell for each pair that no candidate has."""
    rng, picked, total = np.random.default_rng(0), [], set().union(*map(possible, kinds))
    number = {pair: i for i, pair in enumerate(sorted(total))}
    drawn = [kind.drawn(rng) for kind in kinds for _ in range(candidates)]
    has = np.zeros((len(drawn), len(number)), dtype=np.float32)
    for row, cell in zip(has, drawn, strict=True):
        row[[number[pair] for pair in pairs(cell.names)]] = 1
    wanted = np.ones(len(number), dtype=np.float32)
    while (gains := has @ wanted).max() > 2:
        picked.append(drawn[gains.argmax()])
        wanted[has[gains.argmax()] > 0] = 0
    left = {pair for pair, i in number.items() if wanted[i]}
    for kind in kinds:
        alone, together = kind.reached()
        for i, o, j, p in sorted([*together, *((i, o, i, o) for i, o in alone)]):
            both = [("kind", kind.kind)] + [
                pair for level, option in dict.fromkeys([(i, o), (j, p)])
                for pair in zip(spans(kind)[level], kind.levels[level][option].names, strict=True)
            ]  # fmt: skip
            if left & set(itertools.combinations(both, 2)):
                picked.append(kind.drawn(rng, i, o, j, p))
                left -= pairs(picked[-1].names)
    assert not left, sorted(left)[:5]
    return picked, total


def spans(kind):
    """The groups of each level."""
    first, found = 1, []
    for options in kind.levels:
        n = len(options[0].names)
        found.append(GROUPS[first : first + n])
        first += n
    return found


def possible(kind):
    """Every pair of choices that some valid cell of a kind has."""
    alone, together = kind.reached()
    at, found = spans(kind), set()
    for i, o in alone:
        mine = [("kind", kind.kind), *zip(at[i], kind.levels[i][o].names, strict=True)]
        found |= set(itertools.combinations(mine, 2))
    for i, o, j, p in together:
        found |= set(itertools.product(zip(at[i], kind.levels[i][o].names, strict=True),
                                       zip(at[j], kind.levels[j][p].names, strict=True)))  # fmt: skip
    return found
