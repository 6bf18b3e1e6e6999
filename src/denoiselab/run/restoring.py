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
from denoiselab.data.base import Encoded, floating
from denoiselab.data.folder import gathered, listed
from denoiselab.evaluation.evaluate import conditions
from denoiselab.randomness import Keyed
from denoiselab.run.loaded import Run
from denoiselab.sampler import Generates, Inpaint, Loop, Restart, Sampler
from denoiselab.sampler.base import nothing
from denoiselab.spec import Refused

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
    schedule = run.corruption.schedule
    t = schedule.time(-2 * torch.tensor(noise / BYTE, dtype=torch.float64).log())
    if not schedule.t_min <= t < schedule.t_max:
        low, high = ((-schedule.log_snr(torch.tensor(end, dtype=torch.float64)) / 2).exp() * BYTE
                     for end in (schedule.t_min, schedule.t_max))  # fmt: skip
        raise Refused("noise= is a standard deviation on the 0 .. 255 scale that the run has seen", noise,
                      f"give {low:.3g} to {min(high, 1e4):.3g}")  # fmt: skip
    return t


@torch.no_grad()
def restored(run: Run, x: Tensor, sampler: Sampler, noise: float | None = None, missing: Tensor | None = None,
             rounds: int = 1, seed: int = 0, pulse: Callable[[], None] = nothing) -> Tensor:  # fmt: skip
    """Pictures x (N, C, H, W) in [-1, 1]: without their `noise`, with what is `missing` made anew, or as a classical
    denoiser sees them. `rounds` repeats every move of the completion. On the CPU."""
    agreed, device, n = sampler.accepts(run.spec), run.module.device, len(x)
    x, random = x.to(device), Keyed.of(seed, 9, torch.arange(n, device=device))
    context = {name: value.to(device) for name, value in conditions(run.data.test, run.spec, n).items()}
    if Generates not in agreed.facts:
        if noise is not None or missing is not None:
            raise Refused("this run restores what it was trained on, in one step", "noise= or mask=", "leave it out")
        one = torch.ones(n, device=device)
        return sampler(run.denoiser, run.corruption, x, one, random, pulse, **context).cpu()
    if (noise is None) == (missing is None):
        fix = "give one of them: noise=25 (of 255), or mask=PICTURE, white where something is missing"
        raise Refused("a run that generates must be told what to restore", "neither or both of noise= and mask=", fix)
    if not isinstance(sampler, Loop):
        raise Refused("restoring goes along a grid of times", type(sampler).__name__, "give another sampler=")
    if noise is not None:
        agreed.needs(Additive, sampler, "give a run with Gaussian noise")
        t = at_noise(run, noise)
        start = run.corruption.schedule.alpha(t).to(x) * x
        at = t.to(device).expand(n)
        return sampler(run.denoiser, run.corruption, start, at, random, pulse, **context).cpu()
    agreed.needs(Markov, sampler, "give a run whose corruption goes forth, as Gaussian noise does")
    step = Inpaint(sampler.step, x, ~missing.to(device))
    loop = Loop(Restart(step, rounds) if rounds > 1 else step, sampler.grid, sampler.steps)
    loop.accepts(run.spec)
    start = run.corruption.prior(x).sample(random.child("prior"))
    one = torch.ones(n, device=device)
    return loop(run.denoiser, run.corruption, start, one, random, pulse, **context).cpu()
