"""A finished run on pictures of the user's own: denoised, restored, or completed where something is missing.

A classical denoiser (a schedule that ignores time) is asked once. A generative run restores a picture with Gaussian
noise of a known strength by sampling from the time that has this noise (SDEdit: Meng et al., 2021, arXiv:2108.01073),
and completes what a mask hides by sampling all of it and putting in what is known, as noisy as the rest, after every
move (RePaint: Lugmayr et al., 2022, arXiv:2201.09865).
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from denoiselab.corruption import Additive, Markov
from denoiselab.corruption.edits import Withheld
from denoiselab.data.base import Encoded, floating
from denoiselab.data.folder import gathered, listed
from denoiselab.randomness import Keyed
from denoiselab.run.loaded import Run
from denoiselab.sampler import Generates, Inpaint, Loop, Restart, Sampler
from denoiselab.sampler.base import nothing
from denoiselab.spec import Failed, Refused, Spec

BATCH = 64  # pictures at a time: a folder of any size fits
GOES_FORTH = "give a run whose corruption goes forth, as Gaussian noise does"
BYTE = 127.5  # a noise scale on the 0 .. 255 scale is this many times that on [-1, 1]


def pictures(run: Run, path: Path, resize: bool) -> tuple[list[str], Tensor]:
    """Names and pictures, float (N, C, H, W) in [-1, 1], of a file or all below a folder, of the size that the run
    knows. Raises `Refused`, naming every file that cannot be read."""
    if run.spec.kind != "image" or Encoded in run.spec.facts:
        fix = "give a run that was trained on pictures as they are"
        raise Refused("only pictures are restored, in the space of pixels", f"{run.spec.kind} {run.spec.shape}", fix)
    if not path.exists():
        raise Refused("there is no such picture", path, "give a file or a folder: input=PATH")
    files = listed(path)[0] if path.is_dir() else [path]
    names = [str(f.relative_to(path)) if path.is_dir() else f.name for f in files]
    channels, height, width = run.spec.shape
    if resize and height != width:
        raise Refused("resize=true makes squares", f"this run knows {width} x {height}", "resize them yourself")
    x = gathered(dict(zip(names, files, strict=True)), channels, height if resize else None, str(path))
    if tuple(x.shape[1:]) != run.spec.shape:
        raise Refused(f"this run knows pictures of {width} x {height}", f"{x.shape[3]} x {x.shape[2]}",
                      "resize=true cuts the centered square and resizes it")  # fmt: skip
    return names, floating(x)


def hidden(run: Run, path: Path, n: int, resize: bool) -> Tensor:
    """Where a mask is white, (n, 1, H, W) bool: what is to be made anew."""
    masks = pictures(run, path, resize)[1].mean(1, keepdim=True) > 0
    if len(masks) not in (1, n):
        raise Refused("one mask for all pictures, or one for each", f"{len(masks)} masks of {n}", "give mask=PATH")
    if masks.all() or not masks.any():
        raise Refused("a mask is white where something is missing, and black elsewhere",
                      "all white" if masks.all() else "all black", "give another mask")  # fmt: skip
    return masks.expand(n, -1, -1, -1)


def at_noise(run: Run, noise: float) -> Tensor:
    """The time, (), whose noise relative to the signal is `noise` on the 0 .. 255 scale."""
    schedule, device = run.corruption.schedule, run.module.device
    t = schedule.time(-2 * torch.tensor(noise / BYTE, dtype=torch.float64, device=device).log())
    if not schedule.t_min <= t < schedule.t_max:
        ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64, device=device)
        low, high = ((-schedule.log_snr(ends) / 2).exp() * BYTE).tolist()
        raise Refused("noise= is a standard deviation on the 0 .. 255 scale that the run has seen", noise,
                      f"give {low:.3g} to {min(high, 1e4):.3g}")  # fmt: skip
    return t


def told(run: Run, agreed: Spec, n: int, asked: dict) -> dict[str, Tensor]:
    """What the network is told of n pictures: what is asked, else nothing, which it must have learned to bear."""
    if asked:
        return run.wanted(n, agreed, **asked)
    if agreed.asks and Withheld not in agreed.facts:
        fix = f"say what the pictures show: {' or '.join(f'{name}=' for name in sorted(agreed.asks))}"
        raise Refused("this run was always told what to make", "nothing", fix)
    return {}


@torch.no_grad()
def restored(run: Run, x: Tensor, sampler: Sampler, noise: float | None = None, missing: Tensor | None = None,
             rounds: int = 1, seed: int = 0, pulse: Callable[[], None] = nothing, **asked) -> Tensor:  # fmt: skip
    """Pictures x (N, C, H, W) in [-1, 1]: without their `noise`, with what is `missing` made anew, or as a classical
    denoiser sees them. `rounds` repeats every move of the completion; `asked` is what they show, label=3 or
    caption="a five", where the run is told. On the CPU. Raises `Failed` where they are not finite."""
    agreed, device = sampler.accepts(run.spec), run.module.device
    if rounds > 1 and missing is None:
        raise Refused("rounds repeat the moves of a completion", f"rounds={rounds} without mask=", "leave it out")
    if Generates not in agreed.facts:
        if noise is not None or missing is not None:
            raise Refused("this run restores what it was trained on, in one step", "noise= or mask=", "leave it out")
    elif (noise is None) == (missing is None):
        fix = "give one of them: noise=25 (of 255), or mask=PICTURE, white where something is missing"
        got = "neither noise= nor mask=" if noise is None else "noise= and mask="
        raise Refused("a run that generates must be told what to restore", got, fix)
    elif not isinstance(sampler, Loop):
        raise Refused("restoring goes along a grid of times", type(sampler).__name__, "give another sampler=")
    else:
        needed = (Additive, "give a run with Gaussian noise") if noise is not None else (Markov, GOES_FORTH)
        agreed.needs(needed[0], sampler, needed[1])
    t = None if noise is None else at_noise(run, noise)
    context, done = told(run, agreed, len(x), asked), []
    for first in range(0, len(x), BATCH):
        rows = slice(first, first + BATCH)
        part = x[rows].to(device)
        random = Keyed.of(seed, 9, torch.arange(first, first + len(part), device=device))
        start, step = part, torch.ones(len(part), device=device)
        loop = sampler
        if t is not None:
            start, step = run.corruption.schedule.alpha(t).to(part) * part, t.expand(len(part))
        elif missing is not None:
            loop = completing(sampler, part, missing[rows].to(device), rounds)
            loop.accepts(run.spec)
            start = run.corruption.prior(part).sample(random.child("prior"))
        own = {name: value[rows].to(device) for name, value in context.items()}
        found = loop(run.denoiser, run.corruption, start, step, random, pulse, **own)
        if not found.isfinite().all():
            bad = (~found.isfinite().flatten(1).all(1)).nonzero().flatten() + first + 1
            raise Failed(f"pictures {', '.join(map(str, bad[:8].tolist()))} are not finite\n  fix: another sampler, or "
                         "more steps")  # fmt: skip
        done.append(found.cpu())
    return torch.cat(done)


def completing(sampler: Loop, x: Tensor, missing: Tensor, rounds: int) -> Loop:
    """The same moves, after each of which what is known of x is put in."""
    step = Inpaint(sampler.step, x, ~missing)
    return Loop(Restart(step, rounds) if rounds > 1 else step, sampler.grid, sampler.steps, sampler.clip)
