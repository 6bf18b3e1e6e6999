"""Tokens a second of text corruption on one thread, beside transformers' collators and a T5 span collator, alternately
in one process.

    python benchmarks/text_corruption.py [--rounds 5] [--seconds 0.4]

A batch is 64 texts of 512 tokens. Ours takes a padded batch of ids and gives what a denoiser is trained on, each row
drawn from its own key. Peers: transformers' masking collator on lists, as a DataLoader calls it, and its tensor kernel
alone; its whole word masking; T5's spans by numpy, text by text, written out here as nanoT5's collator does it. Of
fairseq, which no registry carries, stand figures measured on another day (two cores, one thread, fp32 matrix product 98
GFLOP/s), scaled by the matrix product of this run, and marked so.

Prints a table, and writes it as JSON beside this file.
"""

import os
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import transformers
from measure import in_turn, parser, seconds, write
from tokenizers import Tokenizer, models

from denoiselab.corruption import Batch, Chain, Damage, TokenMask
from denoiselab.corruption.tokens import (
    Deleted,
    Infilled,
    Link,
    Mixed,
    Original,
    PermutedSentences,
    PoissonSpans,
    RandomSpans,
    Rotated,
    Sentences,
    Sentinels,
    Spans,
    Tokens,
    Touched,
    Words,
)
from denoiselab.randomness import Keyed
from denoiselab.schedule import Constant

B, L, V = 64, 512, 30_000
SENTENCE, WORD = 24, 1.5  # mean lengths in tokens
FAIRSEQ_CEILING = 98e9  # of the machine on which fairseq was measured


def batch() -> Batch:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(V, (B, L), generator=g)
    word = (torch.rand(B, L, generator=g) < 1 / WORD).cumsum(1)
    sentence = (torch.rand(B, L, generator=g) < 1 / SENTENCE).cumsum(1)
    valid = torch.ones(B, L, dtype=torch.bool)
    return Batch(x, torch.arange(B), {
        "valid": valid, "word": word - word[:, :1], "sentence": sentence - sentence[:, :1]})  # fmt: skip


def ours(corruption, given: Batch) -> Callable[[], object]:
    t, turn = torch.ones(B), iter(range(2**40))
    return lambda: corruption(given, t, Keyed.of(0, next(turn), given.key))


# -- peers -------------------------------------------------------------------------------------------------


def tokenizer():
    words = {str(i): i for i in range(V)} | {"[MASK]": V, "[PAD]": V + 1}
    made = Tokenizer(models.WordLevel(words, unk_token="0"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, mask_token="[MASK]", pad_token="[PAD]")


def peers(given: Batch) -> dict[str, Callable[[], object]]:
    warnings.simplefilter("ignore")
    kit, none = tokenizer(), torch.zeros(B, L, dtype=torch.long)
    mask = transformers.DataCollatorForLanguageModeling(kit, seed=0)
    mask.create_rng()
    whole = transformers.DataCollatorForLanguageModeling(kit, whole_word_mask=True, mask_replace_prob=1.0,
                                                         random_replace_prob=0.0, seed=0)  # fmt: skip
    whole.create_rng()
    lists = [{"input_ids": row, "special_tokens_mask": [0] * L} for row in given.x.tolist()]
    begin = torch.arange(L) + given.context["word"]
    offsets = torch.stack((begin, begin + 1), -1)
    numbers, rng = given.x.numpy(), np.random.default_rng(0)
    return {
        "transformers, lists": lambda: mask(lists),
        "transformers, tensors": lambda: mask.torch_mask_tokens(given.x.clone(), special_tokens_mask=none),
        "transformers, whole words": lambda: whole.torch_mask_tokens(
            given.x.clone(), special_tokens_mask=none, offset_mapping=offsets),
        "numpy, as nanoT5 (written out here)": lambda: t5(numbers, 0.15, 3.0, rng),
    }  # fmt: skip


def t5(x: np.ndarray, density: float, mean: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Sources and targets of a batch: a noise mask a text, sentinels by cumulative sums, what is left by a filter."""
    away = np.stack([noise_mask(x.shape[1], density, mean, rng) for _ in x])
    source, target = filtered(x, sentinels(away)), filtered(x, sentinels(~away))
    return source, target


def noise_mask(length: int, density: float, mean: float, rng) -> np.ndarray:
    noise = min(max(round(length * density), 1), length - 1)
    spans = max(round(noise / mean), 1)

    def segments(items):
        first = np.arange(items - 1) < spans - 1
        rng.shuffle(first)
        number = np.cumsum(np.pad(first, (1, 0)))
        return np.unique(number, return_counts=True)[1]

    ends = np.cumsum(np.stack((segments(length - noise), segments(noise)), 1).reshape(-1))[:-1]
    turn = np.zeros(length, dtype=np.int8)
    turn[ends] = 1
    return np.cumsum(turn) % 2 == 1


def sentinels(away: np.ndarray) -> np.ndarray:
    first = away & ~np.pad(away, ((0, 0), (1, 0)))[:, :-1]
    number = np.where(first, np.cumsum(first, 1), 0)
    return np.where(number > 0, V + 1 + number, 0) - (away & ~first)


def filtered(x: np.ndarray, special: np.ndarray) -> np.ndarray:
    full = np.where(special > 0, special, x)
    kept = full[special >= 0].reshape(len(x), -1)
    return np.concatenate((kept, np.full((len(x), 1), V + 1)), 1)


# -- measuring ---------------------------------------------------------------------------------------------


def rate(call: Callable[[], object], duration: float) -> float:
    """Tokens a second."""
    call()
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < duration:
        call()
        calls += 1
    return calls * B * L / (time.perf_counter() - began)


def ceiling() -> float:
    """Multiply-adds of a matrix product a second, twice."""
    a = torch.randn(1024, 1024)
    best = min(seconds(lambda: a @ a) for _ in range(10))
    return 2 * 1024**3 / best


def main() -> None:
    asked = parser(__doc__, rounds=5, seconds=0.4).parse_args()
    torch.set_num_threads(1)
    given, low, infill = batch(), Constant(0.15), PoissonSpans(3.0)
    corruptions = {
        "mask": TokenMask(low, V, 0.1, 0.1),
        "mask, as damage": Damage(low, V, Tokens(), Mixed(V), Touched()),
        "whole words": Damage(low, V, Words(), Mixed(V, 0.0, 0.0), Touched()),
        "spans": Damage(low, V, RandomSpans(3.0), Sentinels(V), Spans()),
        "infill": Damage(Constant(0.3), V, infill, Infilled(V), Original()),
        "infill + permute": Chain(V, [Link(Constant(1.0), Sentences(), PermutedSentences()),
                                      Link(Constant(0.3), infill, Infilled(V))], Original()),
        "delete": Damage(low, V, Tokens(), Deleted(), Original()),
        "permute": Damage(Constant(1.0), V, Sentences(), PermutedSentences(), Original()),
        "rotate": Damage(Constant(1.0), V, Tokens(), Rotated(), Original()),
    }  # fmt: skip
    calls = {name: ours(corruption, given) for name, corruption in corruptions.items()} | peers(given)
    rates = {name: partial(rate, call, asked.seconds) for name, call in calls.items()}
    median = in_turn(asked.rounds, {"matrix product": ceiling, **rates})
    scale = median["matrix product"] / FAIRSEQ_CEILING
    fairseq = {
        name: value * 1e6 * scale
        for name, value in {
            "infill": 0.69,
            "infill + permute": 0.46,
            "delete": 1.9,
            "permute": 1.1,
            "rotate": 3.6,
        }.items()
    }
    rows = [
        *[(name, peer, median[name], median[peer], goal) for name, peer, goal in (
            ("mask", "transformers, lists", 100), ("mask", "transformers, tensors", 6),
            ("mask, as damage", "transformers, lists", 100), ("mask, as damage", "transformers, tensors", 6),
            ("whole words", "transformers, whole words", 50), ("spans", "numpy, as nanoT5 (written out here)", 6))],
        *[(name, "fairseq (not measured here: scaled)", median[name], fairseq[name], goal) for name, goal in (
            ("infill", 40), ("infill + permute", 25), ("delete", 30), ("permute", 15), ("rotate", 8))],
    ]  # fmt: skip
    print(f"{'what':18}{'beside':38}{'Mtok/s':>9}{'peer':>9}{'ratio':>8}{'goal':>7}")
    for name, peer, mine, theirs, goal in rows:
        print(f"{name:18}{peer:38}{mine / 1e6:9.2f}{theirs / 1e6:9.2f}{mine / theirs:8.1f}{goal:7}")
    table = [{"what": a, "beside": b, "tokens_per_second": c, "peer": d, "ratio": c / d, "goal": e}
             for a, b, c, d, e in rows]  # fmt: skip
    write(__file__, table, 1, batch=[B, L], rounds=asked.rounds, transformers=transformers.__version__,
          load=os.getloadavg()[0], matrix_product_flops=median["matrix product"])  # fmt: skip


if __name__ == "__main__":
    main()
