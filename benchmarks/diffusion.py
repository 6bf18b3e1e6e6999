"""Training and sampling steps of pictures beside the peers', alternately in one process.

    make bench     # or: PYTHONPATH=PEERS python benchmarks/diffusion.py [--rounds 5] [--threads 2] [--only training]

Training: one step (noise, U-Net, loss, backward, clipping, Adam, averaged weights) on pictures of 1 x 32 x 32, 32
channels times 1, 2, 2, attention at the lowest resolution, batch 64, fp32. Networks differ in their multiply-adds, so
what is compared is the work done a second: pictures a second times multiply-adds a picture. Beside diffusers'
UNet2DModel and lucidrains' denoising-diffusion-pytorch, with training loops as theirs are. Sampling: one step beside
diffusers' schedulers, the network left out; and the whole loop beside the calls of the network alone.

Prints a table, and writes it as JSON beside this file. A peer that is not installed is left out in words.
"""

import copy
import sys
import types
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from measure import in_turn, parser, plain_step, seconds, update, write
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from denoiselab.architecture.conditioning import Unconditional
from denoiselab.architecture.unet import UNet
from denoiselab.corruption import Batch, GaussianNoise
from denoiselab.denoiser import Epsilon, Point
from denoiselab.grid import even
from denoiselab.objective import MSE, Simple, Weighted
from denoiselab.optim import groups
from denoiselab.randomness import Keyed, key
from denoiselab.sampler import DDIM, Ancestral, DPMSolverPP, Loop, UniPC
from denoiselab.schedule import LinearBeta
from denoiselab.spec import Spec

SHAPE, BATCH, WIDTH, MULTIPLIERS = (1, 32, 32), 64, 32, (1, 2, 2)
DECAY, CLIP, RATE = 0.999, 1.0, 1e-3
STEPS, MOVES = 6, 50  # of training, of sampling, a round


class Training:
    """A way to train: a step as a function, and the multiply-adds of a picture's forward pass."""

    def __init__(self, name: str, step: Callable[[], None], network: nn.Module, ask: Callable[[], object]):
        self.name, self.step = name, step
        self.parameters = sum(p.numel() for p in network.parameters())
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            ask()
        self.work = counter.get_total_flops() / 2 / BATCH


def averaged(average: nn.Module, network: nn.Module) -> None:
    """Both as they do it: parameter by parameter."""
    with torch.no_grad():
        for a, p in zip(average.parameters(), network.parameters(), strict=True):
            a.lerp_(p, 1 - DECAY)


def ours(dtype: torch.dtype | None = None) -> Training:
    """As DenoisingModule trains: keyed noise, fused AdamW, foreach clipping and averaging."""
    torch.manual_seed(0)
    corruption = GaussianNoise(LinearBeta())
    plan = UNet(WIDTH, MULTIPLIERS, attention=(4,), conditioning=Unconditional())
    network = plan.build(Spec("image", SHAPE))
    denoiser, objective = Epsilon().build(network, corruption, Point()), Weighted(MSE(), Simple())
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(groups(network.parameters()), lr=RATE, fused=True)
    parameters, averages = list(network.parameters()), list(average.parameters())
    x, place = torch.rand(BATCH, *SHAPE) * 2 - 1, torch.arange(BATCH)

    def step() -> None:
        random = Keyed(key(0, 4, place))
        t = (1 + Keyed(key(0, 3, place)).integers(1000, (BATCH, 1))[:, 0]) / 1000
        c = corruption(Batch(x, place), t, random)
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            belief = denoiser(c.x_t, t, seen=c.seen)
        cost = objective(belief, c, t, corruption) * c.scored
        (cost.sum() / objective.count(c)).backward()
        update(optimizer, parameters, CLIP)
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1 - DECAY)

    name = "ours" if dtype is None else "ours, bf16"
    return Training(name, step, network, lambda: network(x, torch.zeros(BATCH)))


def theirs(name: str, network: nn.Module, loss: Callable[[], Tensor], ask: Callable[[], object]) -> Training:
    """A peer's loop: Adam, clipping and averaging as their trainers call them."""
    average, learn = copy.deepcopy(network), plain_step(network, loss, RATE, CLIP)

    def step() -> None:
        learn()
        averaged(average, network)

    return Training(name, step, network, ask)


def of_diffusers() -> Training:
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    down = ["DownBlock2D"] * (len(MULTIPLIERS) - 1) + ["AttnDownBlock2D"]
    network = UNet2DModel(
        sample_size=SHAPE[1], in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=8,
        block_out_channels=[WIDTH * m for m in MULTIPLIERS], down_block_types=down, attention_head_dim=16,
        up_block_types=[name.replace("Down", "Up") for name in reversed(down)],
    )  # fmt: skip
    scheduler, x = DDPMScheduler(1000), torch.rand(BATCH, *SHAPE) * 2 - 1

    def loss() -> Tensor:
        noise, t = torch.randn_like(x), torch.randint(1000, (BATCH,))
        return F.mse_loss(network(scheduler.add_noise(x, noise, t), t).sample, noise)

    return theirs("diffusers", network, loss, lambda: network(x, torch.zeros(BATCH)))


def of_lucidrains() -> Training:
    # Of what the package imports, its trainer alone needs these.
    for name in ("torchvision", "torchvision.transforms", "torchvision.utils", "accelerate", "ema_pytorch",
                 "pytorch_fid", "pytorch_fid.inception", "pytorch_fid.fid_score"):  # fmt: skip
        stub = sys.modules.setdefault(name, types.ModuleType(name))
        stub.__getattr__ = lambda attribute: type(attribute, (), {})
    from denoising_diffusion_pytorch.denoising_diffusion_pytorch import GaussianDiffusion, Unet

    torch.manual_seed(0)
    network = Unet(WIDTH, dim_mults=MULTIPLIERS, channels=1, flash_attn=False)
    diffusion = GaussianDiffusion(network, image_size=SHAPE[1], objective="pred_noise", auto_normalize=False)
    x = torch.rand(BATCH, *SHAPE) * 2 - 1
    return theirs("lucidrains", network, lambda: diffusion(x), lambda: network(x, torch.zeros(BATCH)))


def training(rounds: int) -> list[dict]:
    ways = [ours()]
    for make in (of_diffusers, of_lucidrains, lambda: ours(torch.bfloat16)):
        try:
            ways.append(make())
        except ImportError as e:
            print(f"left out: {e}")
    for way in ways:
        seconds(way.step, 2)
    medians = in_turn(rounds, {way.name: partial(seconds, way.step, STEPS) for way in ways})
    mine, rows = None, []
    goals = {"diffusers": 1.1, "lucidrains": 2.0, "ours, bf16": 1.5}
    for way in ways:
        median = medians[way.name]
        rate = way.work * 6 * BATCH / median / 1e9  # floating point operations of the three passes
        mine = mine or (rate, median)
        ratio = mine[1] / median if way.name == "ours, bf16" else mine[0] / rate
        row = {"case": f"training step, {way.name}", "ms": median * 1e3, "pictures_per_second": BATCH / median,
               "parameters": way.parameters, "gflop_per_second": rate, "ratio": ratio,
               "goal": goals.get(way.name)}  # fmt: skip
        rows.append(row)
        print(f"{row['case']:28} {row['ms']:8.1f} ms  {BATCH / median:7.1f} pictures/s  {way.parameters:9,} weights  "
              f"{rate:6.1f} GFLOP/s  ratio {ratio:.2f}  goal {row['goal']}")  # fmt: skip
    return rows


# -- sampling ------------------------------------------------------------------------------------------------------


def sampling(rounds: int) -> list[dict]:
    import diffusers

    corruption, x = GaussianNoise(LinearBeta()), torch.randn(16, *SHAPE)
    random = Keyed(key(0, 1, torch.arange(16)))
    cases = {  # name: (our step, their scheduler, goal)
        "ddim": (DDIM(), diffusers.DDIMScheduler(1000, clip_sample=False), 10),
        "ancestral / DDPM": (Ancestral(), diffusers.DDPMScheduler(1000, clip_sample=False), 2.5),
        "dpm_solver_pp": (DPMSolverPP(), diffusers.DPMSolverMultistepScheduler(1000), None),
        "unipc": (UniPC(), diffusers.UniPCMultistepScheduler(1000), None),
    }
    rows = []
    for name, (step, scheduler, goal) in cases.items():
        grid = even(corruption.schedule, MOVES)

        def planned(step=step, grid=grid) -> list:
            t = tuple(grid)
            return [step.plan(corruption, t[i], t[i + 1], t[:i]) for i in range(MOVES)]

        moves = planned()

        def own(moves=moves) -> None:
            y, past = x, None
            for i, move in enumerate(moves):
                y, past = move(Said(y), y, random.child(i), past, {})

        def peer(scheduler=scheduler) -> None:
            scheduler.set_timesteps(MOVES)
            y = x
            for at in scheduler.timesteps:
                y = scheduler.step(y, at, y).prev_sample

        sides = {
            "plan": partial(seconds, planned),
            "ours": partial(seconds, own, 3),
            "theirs": partial(seconds, peer, 3),
        }
        with torch.no_grad():
            plan, mine, other = (median / MOVES * 1e6 for median in in_turn(rounds, sides).values())
        rows.append({"case": f"sampling step, {name}", "us": mine, "plan_us": plan, "peer_us": other,
                     "ratio": other / mine, "goal": goal})  # fmt: skip
        print(f"{rows[-1]['case']:34} ours {mine:7.1f} us (planned once in {plan:6.1f})  diffusers {other:7.1f} us  "
              f"ratio {other / mine:5.1f}  goal {goal}")  # fmt: skip
    rows.append(loop(rounds))
    return rows


class Said:
    """A denoiser whose belief is there already: what a step costs beside the network."""

    def __init__(self, mean: Tensor):
        from denoiselab.posterior import Dirac

        self.belief = Dirac(mean)

    def __call__(self, x_t, t, **context):
        return self.belief


def loop(rounds: int) -> dict:
    """The whole of a sampler beside the calls of its network."""
    torch.manual_seed(0)
    corruption, x = GaussianNoise(LinearBeta()), torch.randn(BATCH, *SHAPE)
    plan = UNet(WIDTH, MULTIPLIERS, attention=(4,), conditioning=Unconditional())
    network = plan.build(Spec("image", SHAPE)).eval()
    denoiser, sampler = Epsilon().build(network, corruption, Point()), Loop(DDIM(), even, 10)
    random, one, t = Keyed(key(0, 1, torch.arange(BATCH))), torch.ones(BATCH), torch.zeros(BATCH)

    def raw() -> None:
        for _ in range(10):
            network(x, t)

    sides = {"whole": partial(seconds, lambda: sampler(denoiser, corruption, x, one, random)),
             "network": partial(seconds, raw)}  # fmt: skip
    with torch.no_grad():
        whole, bare = (median * 1e3 for median in in_turn(rounds, sides).values())
    print(f"{'sampling loop, ddim':34} ours {whole:7.1f} ms  its network calls alone {bare:7.1f} ms  "
          f"ratio {whole / bare:5.3f}  goal 1.01")  # fmt: skip
    return {"case": "sampling loop, ddim", "ms": whole, "network_ms": bare, "ratio": whole / bare, "goal": 1.01}


def main() -> None:
    parts = {"training": training, "sampling": sampling}
    options = parser(__doc__, rounds=5, threads=torch.get_num_threads())
    options.add_argument("--only", choices=tuple(parts))
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    rows = [row for name, part in parts.items() if asked.only in (None, name) for row in part(asked.rounds)]
    if asked.only is None:
        write(__file__, rows, asked.threads)


if __name__ == "__main__":
    main()
