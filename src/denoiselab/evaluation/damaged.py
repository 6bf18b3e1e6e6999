"""One common damage for all: how well a denoiser restores what a corruption made that need not be its own.

A cell that answers in place is asked once; one that writes, by its sampler, and what it wrote is put together by its
own corruption. Both are then judged as text. Tokens that the damage shows as masks are lost in the same places for all,
but from a cell that writes they are hidden in the way of its own corruption: T5 sees a sentinel in the place of each
run of them, and knows less than BERT, which sees how many they are.
"""

import math

import torch

from denoiselab.corruption import Batch, Compared, Corruption, Written, everywhere
from denoiselab.corruption.tokens.special import SENTINEL
from denoiselab.data.base import Loaded, Table, floating
from denoiselab.data.batches import Once
from denoiselab.evaluation.metrics.base import Value
from denoiselab.evaluation.metrics.prediction import when
from denoiselab.evaluation.metrics.restored_text import errors, texts
from denoiselab.module import DenoisingModule
from denoiselab.randomness import Keyed, key
from denoiselab.spec import Refused, Spec


def fits(damage: Corruption, raw: Spec, cell: Spec) -> None:
    """Raises `Refused` where a cell's network cannot read what a damage makes of data."""
    raw.of(("tokens",), damage)
    made = damage.accepts(raw)
    fix = "leave evaluation.damage out, or take one that keeps places, such as token_mask"
    if Written in made.facts or (made.target and made.target != raw.shape) or made.shape != raw.shape:
        raise Refused("a common damage keeps the places of text", type(damage).__name__, fix)
    cell.refuses(Compared, damage, "leave evaluation.damage out: the network says yes or no of each token")
    if made.specials != cell.specials[: len(made.specials)]:
        raise Refused("the common damage shows tokens that this cell does not know", ", ".join(made.specials),
                      "take a damage of clean tokens, or train with a corruption that has them")  # fmt: skip


def reads(cell: Spec, raw: Spec) -> None:
    """Raises `Refused` where a cell's network cannot read a text that is damaged otherwise than by masks."""
    if cell.shape < raw.shape:
        raise Refused("this cell reads shorter texts", f"{cell.shape} of {raw.shape}",
                      "take a damage that shows masks alone, such as common_damage=masked_spans")  # fmt: skip
    if Written in cell.facts and cell.written > SENTINEL:
        raise Refused("a cell that writes what sentinels stand for is asked of masks alone", "asked=spans",
                      "take a damage that shows masks alone, such as common_damage=masked_spans")  # fmt: skip


@torch.no_grad()
def scores(module: DenoisingModule, data: Loaded, table: Table, damage: Corruption, split: str, seed: int,
           batch_size: int, pulse) -> dict[str, Value]:  # fmt: skip
    """`common/NAME` of a split, each sample damaged by its own key, the same for all cells: cer, wer, chrf and
    exact_match, before and after; of cells that answer in place accuracy and perplexity where tokens were hit too."""
    parts, device = module.parts, module.device
    fits(damage, data.spec, parts.spec)
    damage = damage.to(device)
    writes = Written in parts.agreed.facts
    clean, before, after, nats, right, count = [], [], [], 0.0, 0.0, 0
    for share in Once(table, batch_size):
        pulse()
        share = share.to(device)
        batch = Batch(floating(share.batch.x), share.batch.key, share.batch.context)
        random, own = Keyed(key(seed, 16, batch.key)), parts.corruption.schedule
        first, last = damage.schedule.t_min, damage.schedule.t_max
        u = first + (last - first) * random.child("time").uniform((len(batch.x), 1))[:, 0]
        c = damage(batch, u, random.child("damage"))
        # It is told the time at which its own corruption hits as many.
        hits = damage.schedule.sigma(u).expand(len(u)).tolist()
        known = {rate: when(own, rate) for rate in set(hits)}
        t = torch.tensor([known[rate] for rate in hits], dtype=torch.float32, device=device)
        valid = batch.context.get("valid")
        if writes:
            ok = everywhere(batch.x) if valid is None else valid
            if torch.equal((c.x_t == parts.corruption.mask) & ok, c.touched & ok):
                seen, context = parts.corruption.hidden(batch.x, ok, c.touched, c.context, random.child("hidden"))
            else:
                reads(parts.spec, data.spec)
                seen, context = c.x_t, c.context
            made = parts.sampler(parts.denoiser, parts.corruption, seen, t, random, **context)
            whole, there = parts.corruption.rebuilt(seen, made, context)
        else:
            belief = parts.denoiser(c.x_t, t, seen=c.seen, **c.context)
            hit = c.touched & (everywhere(batch.x) if valid is None else valid)
            whole, there = torch.where(hit, belief.mode, c.x_t), valid
            nats -= belief.log_prob(batch.x)[hit].double().sum().item()
            right, count = right + (belief.mode == batch.x)[hit].sum().item(), count + hit.sum().item()
        for found, x, where in ((clean, batch.x, valid), (before, c.x_t, valid), (after, whole, there)):
            found += texts(data.codec, x.cpu(), None if where is None else where.cpu())
    values = {f"common/{name}": value for name, value in errors(after, clean).items()}
    values |= {f"common/{name}_corrupted": value for name, value in errors(before, clean).items()}
    named = {name: Value(value, len(clean), split) for name, value in values.items()}
    if not writes:
        rate = (right / count, math.exp(min(nats / count, 700.0))) if count else (math.nan, math.nan)
        named |= {
            "common/masked_accuracy": Value(rate[0], count, split),
            "common/perplexity": Value(rate[1], count, split),
        }
    return named
