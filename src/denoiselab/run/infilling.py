"""Text with holes: a template such as "The scientist [MASK] the solution", completed by a run.

[MASK] is one token, [MASK*5] five. What is written is tokenized by the run's codec and kept to the bit.

A model of masked text (absorbing) starts from the template itself: hidden tokens are revealed, shown ones stay. Another
corruption with a way forth (uniform) has what is known put in after every move (RePaint: Lugmayr et al., 2022,
arXiv:2201.09865). A run that answers at once (BERT) gives the likeliest token of each hole, each by itself.

A template is shorter than what the run knows. Where texts were padded in training it is padded in the same way. Where a
corpus was cut into windows, the template begins a window: a run that generates also makes what follows, unknown like
the holes, which is then cut off; one that answers at once is told, by `valid`, that nothing follows.
"""

import re
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.corruption import Absorbing, Markov
from denoiselab.corruption.base import Written
from denoiselab.data.tokenizer import Tokenizer
from denoiselab.randomness import Keyed
from denoiselab.run.loaded import Run
from denoiselab.sampler import Generates, Inpaint, Loop, Sampler
from denoiselab.sampler.base import nothing
from denoiselab.spec import Refused, Spec

MASK = "[MASK]"
HOLE = re.compile(r"\[MASK(?:\*(\d{1,6}))?\]")


class Template(NamedTuple):
    """Ids (L,) int64, of any token in a hole; where the holes are, (L,) bool; how many tokens are the template's: the
    others pad it; and what is written, with how many tokens each part has, "" for holes side by side."""

    ids: Tensor
    hidden: Tensor
    size: int
    parts: tuple[tuple[str, int], ...]


def read(text: str, codec: Tokenizer, length: int) -> Template:
    """A template of at most `length` tokens; raises `Refused`."""
    if not HOLE.search(text):
        raise Refused("a template says where something is missing", f"template={text[:200]!r}",
                      f'write {MASK} for a token, [MASK*5] for five: "The scientist {MASK} the solution"')  # fmt: skip
    if lost := codec.unknown(HOLE.sub("", text)):
        raise Refused("the run does not know these characters", " ".join(repr(c) for c in sorted(lost)[:20]),
                      "leave them out, or give a run with codec=byte or bpe, which read any text")  # fmt: skip
    parts, ids, end = [], [], 0
    for hole in [*HOLE.finditer(text), None]:
        piece = text[end : hole.start() if hole else None]
        if piece:
            ids.append(codec.encode(piece))
            parts.append((piece, len(ids[-1])))
        if hole:
            n, end = int(hole[1] or 1), hole.end()
            if not 0 < n <= length:
                raise Refused("a hole is of one token or more, and no longer than a text", hole[0],
                              f"give {MASK}, or [MASK*2] up to [MASK*{length}]")  # fmt: skip
            ids.append(torch.full((n,), codec.space))
            before = parts.pop()[1] if parts and not parts[-1][0] else 0
            parts.append(("", before + n))
    size = sum(n for _, n in parts)
    if size > length:
        raise Refused(f"this run knows texts of {length} tokens", f"a template of {size}", "shorten the template")
    hidden = [torch.full((n,), not piece) for piece, n in parts]
    rest = length - size
    return Template(torch.cat([*ids, torch.full((rest,), codec.space)]),
                    torch.cat([*hidden, torch.zeros(rest, dtype=torch.bool)]), size, tuple(parts))  # fmt: skip


def accepts(run: Run, sampler: Sampler) -> Spec:
    """What is agreed of completing text; raises `Refused`."""
    agreed = sampler.accepts(run.spec)
    if run.spec.kind != "tokens":
        raise Refused("a template is a text", f"a run on {run.spec.kind}", "give a run on text, or leave template= out")
    if Written in agreed.facts:
        raise Refused("this run writes a text of its own and fills no holes", type(run.corruption).__name__,
                      "give a run with corruption=token_mask or token_mask_80_10_10")  # fmt: skip
    if Generates not in agreed.facts and MASK not in agreed.specials:
        raise Refused("this run never saw a mask", type(run.corruption).__name__,
                      "give a run with corruption=token_mask or token_mask_80_10_10")  # fmt: skip
    if Generates in agreed.facts and Absorbing not in agreed.facts:
        agreed.needs(Markov, sampler, "give a run with corruption=token_mask or token_uniform")
        if not isinstance(sampler, Loop):
            raise Refused("what is known is put in along a grid of times", type(sampler).__name__, "another sampler=")
    return agreed


@torch.no_grad()
def completed(run: Run, templates: Sequence[Template], sampler: Sampler, seed: int = 0,
              pulse: Callable[[], None] = nothing, batch_size: int = 256, **asked) -> Tensor:  # fmt: skip
    """The templates with their holes filled, ids (N, L), on the CPU. Row i is a function of (seed, i), of its template
    and of what is `asked` (label=3, where the run is told), whatever the batch size."""
    agreed, device, done = accepts(run, sampler), run.module.device, []
    context = run.wanted(len(templates), agreed, **asked)
    for first in range(0, len(templates), batch_size):
        part = templates[first : first + batch_size]
        ids, hidden = (torch.stack([t[i] for t in part]).to(device) for i in (0, 1))
        there = torch.arange(ids.shape[1], device=device) < torch.tensor([[t.size] for t in part], device=device)
        random = Keyed.of(seed, 7, torch.arange(first, first + len(part), device=device))
        own = {name: value[first : first + batch_size].to(device) for name, value in context.items()}
        found = filled(run, agreed, ids, hidden, there, sampler, random, pulse, own)
        done.append(torch.where(hidden, found, ids).cpu())
    return torch.cat(done)


def filled(run: Run, agreed: Spec, ids: Tensor, hidden: Tensor, there: Tensor, sampler: Sampler, random,
           pulse: Callable[[], None], context: dict) -> Tensor:  # fmt: skip
    """An answer (B, L) to a batch of templates; what is not hidden may be anything in it."""
    generates, packed = Generates in agreed.facts, "valid" not in run.spec.context
    missing = hidden | ~there if generates and packed else hidden
    if not (generates and packed):
        context["valid"] = there
    if generates:
        context |= run.corruption.own(ids, random.child("own"))
    one = torch.ones(len(ids), device=ids.device)
    if generates and Absorbing not in agreed.facts:
        assert isinstance(sampler, Loop), "it was not agreed"
        step = Inpaint(sampler.step, ids, ~missing)
        sampler = Loop(step, sampler.grid, sampler.steps, sampler.clip)
        sampler.accepts(run.spec)
        start = run.corruption.prior(ids).sample(random.child("prior"))
    else:
        start = torch.where(missing, run.spec.vocabulary + agreed.specials.index(MASK), ids)
    return sampler(run.guided() if generates else run.denoiser, run.corruption, start, one, random, pulse, **context)


def texts(run: Run, found: Tensor, template: Template) -> list[list[tuple[str, bool]]]:
    """Each completed text as runs of characters, and whether they were filled in. What was written is as it was
    written, also where a tokenizer does not give it back so."""
    decode, end, last, columns = run.data.codec.decode, 0, "", []
    for written, n in template.parts:
        before, whole, end = decode(found[:, :end]), decode(found[:, : end + n]), end + n
        new = [next_to(last, b, w) for b, w in zip(before, whole, strict=True)]
        columns.append([(written or text, not written) for text in new])
        last = written
    return [list(row) for row in zip(*columns, strict=True)]


def next_to(last: str, before: str, whole: str) -> str:
    """What a decoded text has more than the one `before`: some decoders take the space from the first token of a text.
    Others make the spaces between words, and one that was written `last` is not to be made again."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, whole, strict=False)))
    new = whole[same:]
    return new.lstrip() if last[-1:].isspace() and not before[-1:].isspace() else new
