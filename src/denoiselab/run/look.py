"""Looking: at a corruption before training, at one training step in words, and at a finished run."""

from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from denoiselab.corruption import Batch, Corrupted, Written
from denoiselab.data.base import Encoded, Loaded, floating
from denoiselab.data.batches import Batches, Once
from denoiselab.evaluation import figures
from denoiselab.evaluation.evaluate import conditions, empty
from denoiselab.evaluation.figures.text import visible
from denoiselab.evaluation.metrics import psnr
from denoiselab.module import DenoisingModule
from denoiselab.randomness import Keyed, key
from denoiselab.run.loaded import Run
from denoiselab.run.report import words
from denoiselab.sampler import Generates, Loop, OneShot
from denoiselab.spec import Refused

SEVERITIES = 5
FRAMES = 10  # columns of a trajectory
POINTS = 16  # times at which recovery is measured


def severities(module: DenoisingModule, data: Loaded, samples: int) -> list[tuple[float, Corrupted]]:
    """The first training samples, corrupted at five times from 0 to 1 with the same draws."""
    rows = data.train.take(slice(samples))
    places = torch.arange(len(rows.x))
    batch, random = Batch(floating(rows.x), places, rows.context), Keyed(key(0, 8, places))
    schedule, found = module.corruption.schedule, []
    # A schedule that ignores time has one severity.
    first = 1.0 if schedule.t_min == schedule.t_max else 0.0
    for t in torch.linspace(first, 1, SEVERITIES).unique().tolist():
        found.append((t, module.corruption(batch, torch.full((len(places),), t), random)))
    return found


def severity_label(module: DenoisingModule, t: float) -> str:
    return f"t {t:.2f}, sigma {module.corruption.schedule.sigma(torch.tensor(t)):.2f}"


def corruption_picture(module: DenoisingModule, data: Loaded, path: Path) -> None:
    """Clean, corrupted, touched and target at five severities."""
    points = data.spec.kind == "points"
    frames = []
    for t, c in severities(module, data, 1000 if points else 2):
        clean = c.target if c.target.shape == c.touched.shape else c.x_t
        shown = [data.codec.decode(x) for x in (clean, c.x_t)]
        frames.append((severity_label(module, t), *shown, c.touched, data.codec.decode(c.target)))
    figures.save(figures.severities(frames), path)


def corruption_text(module: DenoisingModule, data: Loaded, console: Console) -> None:
    """The same of one text, the damage colored; what is written is shown as it is asked."""
    specials, rows = module.parts.spec.specials, data.train.take(slice(1))
    for t, c in severities(module, data, 1):
        valid = rows.context.get("valid")
        [clean] = words(data, rows.x, specials, valid)
        touched = c.touched[0].tolist() if valid is None else c.touched[valid].tolist()
        [shown] = words(data, c.x_t, specials, c.context.get("valid"))
        [target] = words(data, c.target, specials, c.scored > 0 if Written in module.parts.spec.facts else valid)
        console.print(Text(severity_label(module, t), style="bold"))
        names = ("clean", "corrupted", "target")
        console.print(figures.damaged(clean, shown, target, touched, names=names))


def narrate(module: DenoisingModule, data: Loaded, batch_size: int, seed: int, console: Console) -> None:
    """One training iteration: what is drawn, seen, asked, lost."""
    share = next(iter(Batches(data.train, batch_size, seed)))
    when, noise = Keyed(key(seed, 3, 0, share.place)), Keyed(key(seed, 4, share.batch.key))
    asked = module.ask(share, module.times, when, noise, edits=module.parts.edits)
    c, parts = asked.corrupted, module.parts
    loss = asked.cost.sum() / asked.count.clamp(min=1)
    loss.backward()
    gradient = torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm().item()
    per_sample = asked.cost.detach().flatten(1).sum(1)
    worst = int(per_sample.argmax())
    alpha, sigma = module.corruption.schedule(asked.t)

    def say(word: str, line: str) -> None:
        console.print(Text(f"  {word:8}", style="bold cyan") + Text(line))

    def span(x: torch.Tensor) -> str:
        return f"{x.min():.3f} to {x.max():.3f}"

    schedule, name = type(module.corruption.schedule).__name__, type(module.corruption).__name__
    touched, parameters = c.touched.float().mean(), sum(p.numel() for p in parts.denoiser.parameters())
    belief, objective = type(asked.belief).__name__, type(parts.objective).__name__
    console.print(Text("one training iteration", style="bold"))
    say("drawn", f"{share.n} of {len(data.train.x):,} training samples, each of shape {tuple(c.x_t.shape[1:])}")
    say("", f"t {span(asked.t)} by {type(module.times).__name__}")
    say("", f"{schedule}: alpha {span(alpha)}, sigma {span(sigma)}")
    say("seen", f"{name} touched {touched:.1%} of the places; the network gets {tuple(c.seen.shape)} and the time")
    say("asked", f"the target, {tuple(c.target.shape)}: a network of {parameters:,} parameters gives a {belief} belief")
    say("lost", f"{objective}: {loss.item():.4f}, a sum divided by {int(asked.count):,} places")
    say("", f"the hardest sample is at t = {asked.t[worst]:.3f}; gradient norm {gradient:.3g}")
    module.zero_grad()


@torch.no_grad()
def restored_text(run: Run, console: Console, samples: int = 6) -> None:
    """Texts of the test split as the run restores them, the damage colored, at times from low to high."""
    table, parts, specials = run.data.test.take(slice(samples)), run.module.parts, run.spec.specials
    if len(table.x) == 0:
        return
    [share] = Once(table, len(table.x))
    asked = run.module.examine(share.to(run.module.device))
    c = asked.corrupted
    if not c.target.shape == c.x_t.shape == c.touched.shape or c.target.dtype != c.x_t.dtype:
        return  # a text of its own has no places to compare, nor has yes or no
    restored = OneShot()(parts.denoiser, parts.corruption, c.x_t, asked.t, None, **c.context)
    restored = torch.where(c.touched, restored, c.target)  # what is said of other places was not asked
    texts = [words(run.data, x.cpu(), specials) for x in (c.target, c.x_t, restored)]
    for t, touched, *row in zip(asked.t.tolist(), c.touched.tolist(), *texts, strict=True):
        console.print(Text(severity_label(run.module, t), style="bold"))
        console.print(figures.damaged(*row, touched))


# -- finished runs -------------------------------------------------------------------------------------------


@torch.no_grad()
def trajectory(run: Run, folder: Path, console: Console, samples: int = 16, seed: int = 0) -> list[Path]:
    """x_t and the belief about x over the steps: a strip and a GIF, or lines of text."""
    sampler = run.module.parts.sampler
    if Generates not in run.module.parts.agreed.facts or not isinstance(sampler, Loop):
        raise Refused("only a sampler along a grid has a trajectory", type(sampler).__name__, "show another run")
    device, decode = run.module.device, run.data.codec.decode
    places = torch.arange(1000 if run.spec.kind == "points" else samples, device=device)
    random, like = Keyed.of(seed, 7, places), empty(run.spec, len(places), device)
    x = run.corruption.prior(like).sample(random.child("prior"))
    asked = conditions(run.data.test, run.module.parts.agreed, len(places))
    context = {name: value.to(device) for name, value in asked.items()}
    context |= run.corruption.own(like, random.child("own"))
    states, beliefs = [("t 1.00", decode(x.cpu()))], []
    for s, x_s, belief in sampler.moves(run.guided(), run.corruption, x, random, **context):
        states.append((f"t {s:.2f}", decode(x_s.cpu())))
        beliefs.append(decode(belief.mode.cpu()))
    # The belief held at x_t is the one of the move that starts there; at the end the last one.
    frames = [(*state, belief) for state, belief in zip(states, [*beliefs, beliefs[-1]], strict=True)]
    chosen = [frames[i] for i in torch.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().int()]
    if run.spec.kind == "tokens":
        for label, texts, believed in chosen:
            console.print(Text(label, style="bold"))
            console.print(Text("  x_t     " + visible(texts[0])))
            console.print(Text("  belief  ").append(visible(believed[0]), "cyan"))
        return []
    figures.save(figures.trajectory(chosen), folder / "trajectory.png")
    figures.animation(frames, folder / "trajectory.gif")
    return [folder / "trajectory.png", folder / "trajectory.gif"]


@torch.no_grad()
def recovery(run: Run, folder: Path, samples: int = 256) -> Path:
    """How well x is recovered from each t, on the test split: PSNR of pictures, share of tokens right where text was
    touched, or of the written ones given those before, root mean square error of points and of latents."""
    table = run.data.test.take(slice(samples))
    [share] = Once(table, len(table.x))
    share = share.to(run.module.device)
    batch = share.batch._replace(x=floating(share.batch.x))
    schedule, random = run.corruption.schedule, Keyed(key(0, 8, share.place))
    times = torch.linspace(schedule.t_min, schedule.t_max, POINTS, device=run.module.device).unique()
    writes = Written in run.spec.facts
    measure, label = MEASURES["written" if writes else "points" if Encoded in run.spec.facts else run.spec.kind]
    found: dict[str, list[float]] = {"belief": []} if writes else {"belief": [], "corrupted": []}
    for t in times:
        at = t.expand(len(batch.x)).clone()
        c = run.corruption(batch, at, random)
        belief = run.denoiser(c.x_t, at, seen=c.seen, **c.context)
        found["belief"].append(measure(belief.mode, c))
        if "corrupted" in found:
            found["corrupted"].append(measure(c.x_t, c))
    figures.curve(times.tolist(), found, "t", label, folder / "recovery.png")
    return folder / "recovery.png"


def byte(x: torch.Tensor) -> torch.Tensor:
    """From [-1, 1] to 0 .. 255, not rounded."""
    return (x + 1) * 127.5


def right(x: torch.Tensor, c: Corrupted) -> float:
    return ((x == c.target) & c.touched).sum().item() / max(int(c.touched.sum()), 1)


def next_right(x: torch.Tensor, c: Corrupted) -> float:
    return ((x == c.target) & (c.scored > 0)).sum().item() / max(int((c.scored > 0).sum()), 1)


MEASURES = {
    "written": (next_right, "share of written tokens right, given those before"),
    "image": (lambda x, c: psnr(byte(x), byte(c.target)), "PSNR, dB"),
    "points": (lambda x, c: (x - c.target).square().mean().sqrt().item(), "root mean square error"),
    "tokens": (right, "share of touched tokens right"),
}
