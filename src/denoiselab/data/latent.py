"""Pictures in the latents of an autoencoder that was trained before (Rombach et al., 2022, arXiv:2112.10752).

`Latent` is a plan, of a finished run, until somebody who may open runs gives it the network (denoiselab.run.first).
Then all splits are encoded once, in evaluation mode and without noise, always on the CPU: a run that is resumed finds
the same latents to the bit. Each channel is standardized by its mean and deviation over the training split.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from denoiselab.architecture.autoencoder import Coder
from denoiselab.data.base import Codec, Encoded, Identity, Loaded, Table, floating

BATCH = 256  # pictures or latents at a time
FLATTEST = 1e-4  # the least standard deviation that is divided by: a channel that says nothing is not blown up


class Latent(Codec):
    """A plan: `run` is the folder of a finished run of an autoencoder, or the copy of it in a run's own `codec`."""

    def __init__(self, run: str | None):
        self.run = run
        self.network: Coder | None = None
        self.shape: tuple[int, ...] = ()
        self.mean = self.std = torch.zeros(())  # (1, c, 1, 1)

    def accepts(self, spec):
        spec = spec.of(("image",), self)
        return spec if self.network is None else spec.having(Encoded, shape=self.shape, ends=None)

    def opened(self, network: Coder, digest: str, raw: Loaded) -> Loaded:
        """The data that `raw` becomes in the latents of a network whose weights have this digest."""
        codec = Latent(self.run)
        codec.network = network.cpu().eval().requires_grad_(False)
        tables = [codec.table(raw.train), codec.table(raw.val), codec.table(raw.test)]
        x = tables[0].x
        codec.shape = tuple(x.shape[1:])
        codec.mean = x.mean((0, 2, 3), keepdim=True, dtype=torch.float64).float()
        codec.std = x.double().std((0, 2, 3), keepdim=True, correction=0).clamp(min=FLATTEST).float()
        seen = replace(raw, codec=Identity(), unfolded=raw.unfolded and replace(raw.unfolded, codec=Identity()))
        train, val, test = (Table(codec.standard(table.x), table.context) for table in tables)
        return replace(
            raw, spec=codec.accepts(raw.spec), train=train, val=val, test=test, codec=codec, entropy=None, oracle=None,
            uncut=None, unfolded=None, raw=seen, coder=digest,
        )  # fmt: skip

    def table(self, table: Table) -> Table:
        """Latents as the network gives them."""
        return Table(parts(lambda x: self.network.encode(floating(x)), table.x), table.context)

    def standard(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.std

    def encode(self, raw):
        """Pictures (N, C, H, W), uint8 or float in [-1, 1], to standardized latents, (N, c, h, w) float32."""
        return self.standard(self.table(Table(raw.cpu())).x).to(raw.device)

    def decode(self, x):
        """uint8 pictures."""
        return Identity().decode(self.pictures(x))

    def pictures(self, x: Tensor) -> Tensor:
        """Float pictures, about in [-1, 1]."""
        assert self.network is not None, "the autoencoder was not opened: data is loaded by denoiselab.run.first.load"
        return parts(lambda z: self.network.decode(z * self.std + self.mean), x.cpu()).to(x.device)


@torch.no_grad()
def parts(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function` of x, a batch at a time: a large split must not need all activations at once."""
    return torch.cat([function(part) for part in x.split(BATCH)])
