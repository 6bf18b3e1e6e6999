"""Networks of others, run as they are: a module of yours, and the U-Net of diffusers."""

import importlib.util
import inspect
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from denoiselab.architecture.base import Architecture, Recomputed, Writer, leaving_out, whole
from denoiselab.architecture.conditioning import UNCONDITIONAL, Conditional, Conditioning
from denoiselab.spec import Refused, Spec

# -- yours -------------------------------------------------------------------------------------------------


class Module(Architecture):
    """A network of yours: `module(...)` makes it, under the seed of the run.

    It is called as network(x, noise, ...) with what else its forward names of the context (label, valid, caption,
    caption_valid, told), or with all of it if it takes **context. Of its constructor's arguments, those without a value
    that are named like a field of `Spec` (shape, given, classes, vocabulary ...) are told by the data. One that names
    `told`, (B,) bool, False where the rest is withheld, can be guided. Where a text is written token by token it is
    given `prefix` (B, T), and place i of its answer must not look beyond place i of that; one that is no `Writer`
    is asked for all places so far at each.
    """

    def __init__(self, module: Callable[..., nn.Module]):
        if isinstance(module, nn.Module):
            raise Refused(
                "architecture.module is made when its turn comes, under the seed", "a network that is made already",
                "leave architecture.module._partial_ true",
            )  # fmt: skip
        self.module, self.tried = module, {}

    def accepts(self, spec):
        key = spec._replace(facts=frozenset())
        if key not in self.tried:
            self.tried[key] = self.trial(spec)
        return spec.having(Conditional) if self.tried[key] else spec

    def build(self, spec):
        network = self.made(spec)
        names = heard(network)
        if names is not None and not isinstance(network, Writer):
            network = Adapted(network, names)
        return Recomputed(network) if "prefix" in spec.context and not isinstance(network, Writer) else network

    def made(self, spec: Spec) -> nn.Module:
        known = spec._replace(seen=spec.seen or spec.shape, given=spec.given or spec.shape)._asdict()
        free = (p.name for p in inspect.signature(self.module).parameters.values() if p.default is p.empty)
        return self.module(**{name: known[name] for name in free if name in known})

    def trial(self, spec: Spec) -> bool:
        """Is it told what to make? Refused, where it does not answer as agreed. On the meta device, where nothing is
        allocated; what cannot run there runs for real."""
        try:
            network, answer = self.answer(spec, torch.device("meta"))
        except Exception:
            try:
                network, answer = self.answer(spec, torch.device("cpu"))
            except Refused:
                raise
            except Exception as e:
                raise Refused(
                    f"{self.name} does not run on {spec.kind} of shape {spec.seen or spec.shape}",
                    f"{type(e).__name__}: {str(e).strip()}".split("\n")[0][:150],
                    "a network is called as network(x, noise, **context), noise (B,)",
                ) from e
        names = heard(network)
        if "prefix" in spec.context and names is not None and "prefix" not in names:
            fix = "write forward(x, noise, prefix, ...), or use architecture=encoder_decoder"
            raise Refused(f"{self.name} is to write a text token by token", "a forward that takes no prefix", fix)
        wanted, got = (2, *(spec.given or spec.shape)), type(answer).__name__
        if not isinstance(answer, Tensor) or answer.shape != wanted or not answer.is_floating_point():
            got = f"{tuple(answer.shape)} of {answer.dtype}" if isinstance(answer, Tensor) else got
            raise Refused(
                f"{self.name} must answer two samples by numbers of shape {wanted}", got,
                "the constructor is told the shape if it has an argument `given`",
            )  # fmt: skip
        return "told" in (heard(network) or ())

    @property
    def name(self) -> str:
        return getattr(getattr(self.module, "func", self.module), "__name__", "architecture.module")

    @torch.no_grad()
    def answer(self, spec: Spec, device: torch.device) -> tuple[nn.Module, object]:
        """The network, and what it says of two samples."""
        with torch.random.fork_rng(devices=[]), device:
            network = self.made(spec).eval()
            shape = (2, *(spec.seen or spec.shape))
            x = torch.zeros(shape, dtype=torch.int64) if spec.vocabulary else torch.zeros(shape)
            context = {name: example(name, spec) for name in spec.context}
            return network, Adapted(network, heard(network))(x, torch.full((2,), 0.5), **context)


def example(name: str, spec: Spec) -> Tensor | None:
    """What the context has of two samples, on the device that is set."""
    known = {
        "label": ((2,), torch.int64), "valid": ((2, *spec.shape), torch.bool), "told": ((2,), torch.bool),
        "prefix": ((2, *spec.target), torch.int64), "caption": ((2, spec.caption), torch.int64),
        "caption_valid": ((2, spec.caption), torch.bool),
    }  # fmt: skip
    shape, kind = known.get(name, ((2,), torch.float32))
    return torch.ones(shape, dtype=kind) if kind is torch.bool else torch.zeros(shape, dtype=kind)


def heard(network: nn.Module) -> frozenset[str] | None:
    """The names of the context that a network listens to; None: all."""
    parameters = list(inspect.signature(network.forward).parameters.values())[2:]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))


class Adapted(nn.Module):
    """A network that gets of the context what it listens to."""

    def __init__(self, network: nn.Module, names: frozenset[str] | None):
        super().__init__()
        self.network, self.names = network, names

    def forward(self, x, noise, **context):
        if self.names is not None:
            context = {name: value for name, value in context.items() if name in self.names}
        return self.network(x, noise, **context)


class Convolutions(nn.Module):
    """Five convolutions on a picture, told nothing: a small DnCNN (Zhang et al., 2017, arXiv:1608.03981) in the place
    of a network of yours."""

    def __init__(self, shape: tuple[int, ...], given: tuple[int, ...]):
        super().__init__()
        widths = [shape[0], 32, 32, 32, 32]
        layers = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.SiLU()) for a, b in pairwise(widths)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], given[0], 3, padding=1))

    def forward(self, x, noise):
        return self.layers(x)


# -- diffusers ---------------------------------------------------------------------------------------------


class DiffusersUNet(Architecture):
    """`diffusers.UNet2DModel`, with scale-shift time conditioning; its time is 1000 times the noise it is told.

    `attention` names resolutions by what divides the sides: 1 is the full size, 2 half; the middle has attention unless
    it names none. All else is called and means as there.
    """

    def __init__(self, block_out_channels: tuple[int, ...] = (32, 64, 64), layers_per_block: int = 1,
                 attention: tuple[int, ...] = (4,), attention_head_dim: int = 16, norm_num_groups: int = 8,
                 time: bool = True, dropout: float = 0.0, conditioning: Conditioning = UNCONDITIONAL):  # fmt: skip
        channels, attention = tuple(block_out_channels), tuple(attention)
        if min((layers_per_block, norm_num_groups, *channels), default=0) < 1 or not channels or any(
            c % norm_num_groups for c in channels
        ):  # fmt: skip
            raise Refused(
                "UNet2DModel needs layers, and channels that its groups divide",
                f"block_out_channels={list(channels)} layers_per_block={layers_per_block} "
                f"norm_num_groups={norm_num_groups}",
                "for example block_out_channels=[32,64,64] layers_per_block=1 norm_num_groups=8",
            )
        divisors = [2**i for i in range(len(channels))]
        if not {*attention} <= {*divisors}:
            raise Refused(
                "architecture.attention is where attention is: what divides the sides",
                f"attention={list(attention)} block_out_channels={list(channels)}", f"give some of {divisors}",
            )  # fmt: skip
        attended = [c for c, d in zip(channels, divisors, strict=True) if d in attention]
        if attention and (attention_head_dim < 1 or any(c % attention_head_dim for c in (*attended, channels[-1]))):
            raise Refused(
                "UNet2DModel shares its channels among heads of attention_head_dim",
                f"attention_head_dim={attention_head_dim}", "give a divisor, such as attention_head_dim=16",
            )  # fmt: skip
        self.channels, self.layers_per_block, self.attention = channels, layers_per_block, attention
        self.attended = [d in attention for d in divisors]
        self.head, self.groups, self.time = attention_head_dim, norm_num_groups, time
        self.dropout, self.conditioning = leaving_out(dropout), conditioning

    def accepts(self, spec):
        spec = whole(spec.of(("image",), self), self)
        divisor = 2 ** (len(self.channels) - 1)
        if any(side % divisor for side in spec.shape[1:]):
            raise Refused(
                f"UNet2DModel takes pictures whose sides {divisor} divides",
                f"pictures of {spec.shape[1]} x {spec.shape[2]}",
                "use fewer block_out_channels, pictures of another size, or architecture=unet",
            )  # fmt: skip
        if importlib.util.find_spec("diffusers") is None:
            raise Refused("architecture=diffusers_unet needs diffusers", "it is not installed", "pip install diffusers")
        return self.conditioning.accepts(spec)

    def build(self, spec):
        return DiffusersNetwork(spec, self)


class DiffusersNetwork(nn.Module):
    def __init__(self, spec: Spec, plan: DiffusersUNet):
        from diffusers import UNet2DModel

        super().__init__()
        told = plan.conditioning.vector
        self.time, self.conditioning = plan.time, plan.conditioning.build(spec, 4 * plan.channels[0])
        self.network = UNet2DModel(
            in_channels=spec.shape[0],
            out_channels=(spec.given or spec.shape)[0],
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in plan.attended),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(plan.attended)),
            block_out_channels=plan.channels,
            layers_per_block=plan.layers_per_block,
            dropout=plan.dropout,
            attention_head_dim=plan.head,
            norm_num_groups=plan.groups,
            attn_norm_num_groups=plan.groups,
            resnet_time_scale_shift="scale_shift",
            add_attention=bool(plan.attention),
            class_embed_type="identity" if told else None,
        )

    def forward(self, x, noise, **context):
        time = 1000 * noise if self.time else torch.zeros_like(noise)
        vector = self.conditioning(len(x), **context).vector
        return self.network(x, time, vector, return_dict=False)[0]
