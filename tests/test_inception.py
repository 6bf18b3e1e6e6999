"""The Inception network: published names, shapes and sizes; TensorFlow's pooling and resizing; one kind of file alone.
The published weights are not here: what is loaded is random."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from denoiselab.evaluation import inception
from denoiselab.evaluation.features import Inception
from denoiselab.evaluation.inception import InceptionV3, resized, wanted
from denoiselab.spec import Refused

CPU = torch.device("cpu")
# Of the published state dictionary, some of each kind of block.
PUBLISHED = {
    "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3), "Conv2d_4a_3x3.bn.running_mean": (192,),
    "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5), "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
    "Mixed_5d.branch3x3dbl_3.conv.weight": (96, 96, 3, 3), "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
    "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7), "Mixed_6e.branch7x7dbl_4.conv.weight": (192, 192, 7, 1),
    "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3), "Mixed_7b.branch3x3_2a.conv.weight": (384, 384, 1, 3),
    "Mixed_7c.branch3x3dbl_3b.bn.weight": (384,), "Mixed_7c.branch_pool.conv.weight": (192, 2048, 1, 1),
}  # fmt: skip


def test_names_and_shapes_are_the_published_ones():
    state = wanted()
    assert {name: state[name] for name in PUBLISHED} == PUBLISHED
    assert len(state) == 94 * 5  # of each of 94 convolutions: its weight, and four of its normalization


def test_it_is_as_large_as_published():
    """Keras says 21,802,784 for Inception v3 without its classifier: it counts running means and variances, and has no
    factors in the normalization."""
    state = wanted()
    sizes = {name: torch.Size(shape).numel() for name, shape in state.items()}
    factors = sum(size for name, size in sizes.items() if name.endswith("bn.weight"))
    assert sum(sizes.values()) - factors == 21_802_784


def test_names_and_shapes_are_those_of_torchvision():
    models = pytest.importorskip("torchvision.models", reason="torchvision is not here: nothing to compare with")
    with torch.device("meta"):
        theirs = models.inception_v3(weights=None, aux_logits=False, init_weights=False).state_dict()
    unread = ("num_batches_tracked", "fc.weight", "fc.bias")
    assert wanted() == {name: tuple(x.shape) for name, x in theirs.items() if not name.endswith(unread)}


# -- resizing


@pytest.mark.parametrize("side", [7, 28, 299, 400])
def test_resizing_reads_row_i_at_its_share_of_the_height(side):
    """TensorFlow 1 has no half-pixel centers: what is linear stays so, from the first row on, up to the last one."""
    rows = torch.arange(side, dtype=torch.float32)
    picture = rows[:, None].expand(1, 1, side, side) + 2 * rows
    at = (torch.arange(299) * side / 299).clamp(max=side - 1)
    torch.testing.assert_close(resized(picture, 299)[0, 0], at[:, None] + 2 * at, rtol=1e-5, atol=2e-3)


def test_a_picture_of_the_right_size_stays_as_it_is():
    x = torch.rand(2, 3, 299, 299)
    assert torch.equal(resized(x, 299), x)


def test_an_average_leaves_padding_out():
    x = torch.rand(1, 1, 4, 5)
    mean = inception.mean(x)
    assert mean[0, 0, 0, 0] == pytest.approx(x[0, 0, :2, :2].mean().item())
    assert mean[0, 0, 1, 2] == pytest.approx(x[0, 0, :3, 1:4].mean().item())
    assert torch.equal(inception.largest(x), F.max_pool2d(x, 3, 1, 1))


# -- the file


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights as the published file has them, its classifier and counters among them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = InceptionV3().state_dict() | nn.Linear(2048, 1008).state_dict(prefix="fc.")
    path = tmp_path_factory.mktemp("inception") / "weights.safetensors"
    save_file(state, path)
    return path, state


def test_features_are_those_of_the_weights_in_the_file(weights):
    path, state = weights
    network = InceptionV3().eval()
    network.load_state_dict(state, strict=False)
    named = Inception(str(path))(None, CPU)
    x = torch.randint(0, 256, (2, 1, 9, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        found, true = named(x, lambda: None), network(x)
    assert found.shape == (2, 2048)
    assert torch.equal(found, true)
    assert (found[0] != found[1]).any()
    assert not named.network.training
    assert not any(p.requires_grad for p in named.network.parameters())
    assert named.short == "inception"
    assert named.full.startswith("inception-d2048-")
    color = named(x[:1].expand(1, 3, 9, 8), lambda: None)
    torch.testing.assert_close(color, found[:1], rtol=1e-4, atol=1e-5)


def refused(path) -> str:
    with pytest.raises(Refused) as said:
        Inception(None if path is None else str(path))
    assert "safetensors" in said.value.fix
    return f"{said.value.what} {said.value.got}"


def test_a_pickle_is_refused_and_the_way_out_said(tmp_path):
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    torch.save({}, path)
    assert "no pickle" in refused(path)
    with pytest.raises(Refused) as said:
        Inception(str(path))
    assert "weights_only=True" in said.value.fix


def test_a_file_that_holds_something_else_is_refused(weights, tmp_path):
    assert "local file" in refused(None)
    assert "cannot be read" in refused(tmp_path / "nothing.safetensors")
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"no such thing")
    assert "cannot be read" in refused(path)
    _, state = weights
    save_file({name: tensor for name, tensor in state.items() if name != "Mixed_6c.branch1x1.bn.bias"}, path)
    assert "Mixed_6c.branch1x1.bn.bias is missing" in refused(path)
    save_file(state | {"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 1, 3, 3)}, path)
    assert "(32, 1, 3, 3), not (32, 3, 3, 3)" in refused(path)
