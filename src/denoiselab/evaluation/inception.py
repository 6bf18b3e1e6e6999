"""The Inception network of the Frechet Inception distance, pictures to pool3 features, from weights in a local file.

It is the graph of 2015-12-05 by which Heusel et al. (2017, arXiv:1706.08500) define the distance: Inception v3 (Szegedy
et al., 2015, arXiv:1512.00567) whose average pools leave padding out and whose last block pools by the maximum. Module
names are those of the published weights for PyTorch, torchvision's. Pictures are resized as in the graph: bilinear,
without half-pixel centers, then (x - 128) / 128; so does torch-fidelity, and torchmetrics with it. pytorch-fid resizes
with half-pixel centers: its distances differ a little.
"""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from denoiselab.spec import Refused

SIDE = 299  # pixels
BATCH = 50  # pictures of 299 x 299 at a time
CONVERT = (
    'convert the published pt_inception-2015-12-05-6726825d.pth once, where you trust it: python -c "import torch; '
    "from safetensors.torch import save_file; save_file(torch.load('IN.pth', weights_only=True), 'OUT.safetensors')\""
)


class Conv(nn.Module):
    """Convolution, normalization, rectifier."""

    def __init__(self, n: int, m: int, size: int | tuple[int, int], stride: int = 1,
                 padding: int | tuple[int, int] = 0):  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(n, m, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(m, eps=0.001)

    def forward(self, x):
        return self.bn(self.conv(x)).relu()


WIDE, TALL = {"size": (1, 7), "padding": (0, 3)}, {"size": (7, 1), "padding": (3, 0)}
ROW, COLUMN = {"size": (1, 3), "padding": (0, 1)}, {"size": (3, 1), "padding": (1, 0)}


def mean(x: Tensor) -> Tensor:
    """Average over 3 x 3 places, those beyond the edge left out."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class A(nn.Module):
    """35 x 35, n channels to 224 + `pooled`."""

    def __init__(self, n: int, pooled: int):
        super().__init__()
        self.branch1x1 = Conv(n, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Conv(n, 48, 1), Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(n, 64, 1), Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(n, pooled, 1)

    def forward(self, x):
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch1x1(x), five, three, self.branch_pool(mean(x))), 1)


class B(nn.Module):
    """35 x 35 to 17 x 17, n channels to n + 480."""

    def __init__(self, n: int):
        super().__init__()
        self.branch3x3 = Conv(n, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(n, 64, 1), Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2)

    def forward(self, x):
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), three, F.max_pool2d(x, 3, 2)), 1)


class C(nn.Module):
    """17 x 17, n channels to 768 through `c`."""

    def __init__(self, n: int, c: int):
        super().__init__()
        self.branch1x1 = Conv(n, 192, 1)
        self.branch7x7_1, self.branch7x7_2, self.branch7x7_3 = Conv(n, c, 1), Conv(c, c, **WIDE), Conv(c, 192, **TALL)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Conv(n, c, 1), Conv(c, c, **TALL)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = Conv(c, c, **WIDE), Conv(c, c, **TALL)
        self.branch7x7dbl_5 = Conv(c, 192, **WIDE)
        self.branch_pool = Conv(n, 192, 1)

    def forward(self, x):
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat((self.branch1x1(x), seven, double, self.branch_pool(mean(x))), 1)


class D(nn.Module):
    """17 x 17 to 8 x 8, n channels to n + 512."""

    def __init__(self, n: int):
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Conv(n, 192, 1), Conv(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = Conv(n, 192, 1), Conv(192, 192, **WIDE)
        self.branch7x7x3_3, self.branch7x7x3_4 = Conv(192, 192, **TALL), Conv(192, 192, 3, 2)

    def forward(self, x):
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat((three, seven, F.max_pool2d(x, 3, 2)), 1)


class E(nn.Module):
    """8 x 8, n channels to 2,048; `pool` keeps the shape."""

    def __init__(self, n: int, pool):
        super().__init__()
        self.pool = pool
        self.branch1x1 = Conv(n, 320, 1)
        self.branch3x3_1 = Conv(n, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = Conv(384, 384, **ROW), Conv(384, 384, **COLUMN)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(n, 448, 1), Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Conv(384, 384, **ROW), Conv(384, 384, **COLUMN)
        self.branch_pool = Conv(n, 192, 1)

    def forward(self, x):
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return torch.cat((
            self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(self.pool(x)),
        ), 1)  # fmt: skip


def largest(x: Tensor) -> Tensor:
    """Maximum over 3 x 3 places."""
    return F.max_pool2d(x, 3, 1, 1)


class InceptionV3(nn.Module):
    """Pictures (N, C, H, W) uint8, gray or color, of any size, to features (N, 2048)."""

    num_features = 2048

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Conv(3, 32, 3, 2), Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Conv(64, 80, 1), Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = A(192, 32), A(256, 64), A(288, 64)
        self.Mixed_6a = B(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = C(768, 128), C(768, 160), C(768, 160), C(768, 192)
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = D(768), E(1280, mean), E(2048, largest)

    def forward(self, pictures):
        # TensorFloat-32 would change the third digit of a distance.
        with torch.backends.cudnn.flags(allow_tf32=False):
            return torch.cat([self.pool3(part) for part in pictures.split(BATCH)])

    def pool3(self, pictures: Tensor) -> Tensor:
        x = (resized(pictures.float(), SIDE) - 128) / 128
        x = x.expand(-1, 3, -1, -1)
        x = F.max_pool2d(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))), 3, 2)
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))


def resized(x: Tensor, side: int) -> Tensor:
    """(N, C, H, W) to (N, C, side, side), bilinear as TensorFlow 1 does it: row i is read at i H / side, and beyond the
    last row there is the last row."""
    for axis in (2, 3):
        n = x.shape[axis]
        at = torch.arange(side, device=x.device) * (n / side)
        low = at.floor().long()
        share = (at - low).reshape(-1, *(1,) * (3 - axis))
        x = torch.lerp(x.index_select(axis, low), x.index_select(axis, (low + 1).clamp(max=n - 1)), share)
    return x


# -- the file -------------------------------------------------------------------------------------------------


def wanted() -> dict[str, tuple[int, ...]]:
    """Name and shape of all that the features need, without a tensor."""
    with torch.device("meta"):
        state = InceptionV3().state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def checked(path: str | None) -> str:
    """`path`, where it holds the weights; raises `Refused`. Only names and shapes are read."""
    if path is None:
        raise Refused("extractor=inception needs weights in a local file", "extractor.path=null",
                      f"give extractor.path=FILE.safetensors; {CONVERT}")  # fmt: skip
    if Path(path).suffix != ".safetensors":
        raise Refused("extractor.path is a safetensors file: no pickle is ever read", path, CONVERT)
    try:
        with safe_open(path, "pt") as file:
            # No `in file`: it is not iterable.
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as e:
        raise Refused("extractor.path cannot be read", f"{path}: {e}", CONVERT) from e
    needed = wanted()
    wrong = sorted(name for name, shape in needed.items() if found.get(name) != shape)
    if wrong:
        shapes = f"{wrong[0]} is {found.get(wrong[0], 'missing')}, not {needed[wrong[0]]}"
        raise Refused("extractor.path holds another network", f"{path}: {shapes}", CONVERT)
    return path


def loaded(path: str) -> tuple[InceptionV3, str]:
    """The network in evaluation mode, and the SHA-256 of the file."""
    network, needed = InceptionV3(), wanted()
    tensors = {name: tensor for name, tensor in load_file(path).items() if name in needed}
    network.load_state_dict(tensors, strict=False)
    with Path(path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return network.eval().requires_grad_(False), digest
