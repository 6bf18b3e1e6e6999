"""Pictures and points: what is on disk comes in unchanged, and what is damaged is named."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from torch.testing import assert_close

from denoiselab.data.base import SPLITS, Identity
from denoiselab.data.folder import Folder
from denoiselab.data.idx import IDX
from denoiselab.data.image import Digits, decoded
from denoiselab.data.points import Moons, Ring
from denoiselab.data.sheets import Sheets
from denoiselab.data.splits import finite, levels, parts
from denoiselab.data.tokenizer import Byte
from denoiselab.spec import Refused

CONF = Path(__file__).parents[1] / "conf"
PICTURES = np.random.default_rng(0).integers(0, 256, (60, 5, 7), dtype=np.uint8)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.delenv("DENOISELAB_DATA", raising=False)


def sound(data):
    """What every picture data set keeps."""
    classes, shape = data.spec.classes, data.spec.shape
    for split in SPLITS:
        x, context = data.split(split)
        assert x.dtype == torch.uint8
        assert x.shape[1:] == shape
        assert len(x)
        assert x.is_contiguous()
        assert context.keys() == data.spec.context
        if classes:
            label = context["label"]
            assert label.dtype == torch.int64
            assert label.shape == (len(x),)
            assert label.min() >= 0
            assert label.max() < classes
    return data


def contents(data):
    """Pictures with their labels, over all splits."""
    tables = [data.split(s) for s in SPLITS]
    return {(x.numpy().tobytes(), int(c)) for t in tables for x, c in zip(t.x, t.context["label"], strict=True)}


def test_digits():
    from sklearn.datasets import load_digits

    data = sound(Digits(Identity(), 32).load())
    assert [len(data.split(s).x) for s in SPLITS] == [1297, 200, 300]
    assert data.spec.classes == 10
    known = {
        ((i * 255 / 16).round().astype(np.uint8).tobytes(), int(c))
        for i, c in zip(*load_digits(return_X_y=True), strict=True)
    }
    assert contents(data) == known
    assert sum(len(data.split(s).x) for s in SPLITS) == 1797
    assert data.train.x.min() == 0
    assert data.train.x.max() == 255
    assert len(data.test.context["label"].unique()) == 10
    assert data.fingerprint() == Digits(Identity(), 64).load().fingerprint()


def test_n_keeps_the_first():
    part, whole = Digits(Identity(), 32, 100).load(), Digits(Identity(), 32).load()
    assert torch.equal(part.train.x, whole.train.x[:100])
    assert torch.equal(part.test.x, whole.test.x)
    assert torch.equal(part.train.context["label"], whole.train.context["label"][:100])
    with pytest.raises(Refused, match="1298 of 1297"):
        Digits(Identity(), 32, 1298).load()
    for wrong in ((0, None), (8, 0)):
        with pytest.raises(Refused):
            Digits(Identity(), *wrong)


def test_pictures_need_no_tokenizer():
    with pytest.raises(Refused, match="tokenizer"):
        Digits(Byte(), 32).load()


@pytest.mark.parametrize("n", [3, 10, 99, 1000])
def test_parts_share_nothing(n):
    train, val, test = parts(n, "it")
    assert torch.cat((train, val, test)).sort().values.tolist() == list(range(n))
    assert len(val) == len(test) == max(n // 10, 1)
    assert n < 99 or val.tolist() != list(range(val[0], val[0] + len(val)))  # not a block
    with pytest.raises(Refused):
        parts(2, "it")


# -- folders -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for i in range(12):
        where = tmp_path / ("deep/er" if i % 3 else ".") / f"{i:02}.png"
        Image.fromarray(np.full((6, 8), 20 * i, np.uint8)).save(where)
    return tmp_path


def read_folder(root, **more):
    return Folder(Identity(), str(root), 8, **{"channels": 1, **more}).load()


def test_folder_holds_every_picture_once(folder):
    data = sound(read_folder(folder))
    assert data.spec.shape == (1, 6, 8)
    assert not data.spec.classes
    assert not data.notes
    values = [x[0, 0, 0].item() for s in SPLITS for x in data.split(s).x]
    assert sorted(values) == [20 * i for i in range(12)]
    assert data.fingerprint() == read_folder(folder).fingerprint()
    assert read_folder(folder, channels=3).spec.shape == (3, 6, 8)
    assert read_folder(folder, size=4).spec.shape == (1, 4, 4)


def test_folder_skips_what_is_no_picture(folder):
    before = read_folder(folder).fingerprint()
    (folder / "README.md").write_text("about")
    (folder / "._00.png").write_bytes(b"a Mac was here")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.png").write_bytes(b"")
    data = read_folder(folder)
    assert data.fingerprint() == before
    assert data.notes == ["skipped what is no picture: README.md"]


def test_damaged_pictures_are_named_all(folder):
    noise = io.BytesIO()
    Image.fromarray(PICTURES[0].repeat(20, 0).repeat(20, 1)).save(noise, "PNG")
    (folder / "half.png").write_bytes(noise.getvalue()[: len(noise.getvalue()) // 2])
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "lie.png").write_text("no picture")
    values = np.ones((6, 8), np.float32)
    values[2, 3] = np.nan
    Image.fromarray(values).save(folder / "nan.tif")
    with pytest.raises(Refused) as error:
        read_folder(folder)
    assert "4 of 16" in str(error.value)
    assert "NaN pixels" in str(error.value)
    assert all(name in str(error.value) for name in ("half.png", "zero.jpg", "lie.png", "nan.tif"))


def test_odd_sizes_are_named(folder):
    Image.new("L", (5, 6)).save(folder / "odd.png")
    with pytest.raises(Refused, match=r"12 of 13 are 8 x 6\n.*odd.png is 5 x 6\n.*data.size"):
        read_folder(folder)
    assert read_folder(folder, size=5).spec.shape == (1, 5, 5)


def test_no_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for root, what in ((tmp_path / "absent", "nothing"), (tmp_path / "file", "a file"), (tmp_path / "empty", "empty")):
        with pytest.raises(Refused, match=what) as error:
            read_folder(root)
        assert str(root) in str(error.value)
    with pytest.raises(Refused, match=r"data\.root=FOLDER"):
        Folder(Identity(), None, 8).load()
    Image.new("L", (5, 6)).save(tmp_path / "one.png")
    with pytest.raises(Refused, match="3 or more"):
        read_folder(tmp_path)
    for wrong in ({"channels": 2}, {"size": 0}):
        with pytest.raises(Refused):
            read_folder(tmp_path, **wrong)


def file_of(picture, form="PNG", **more):
    file = io.BytesIO()
    picture.save(file, form, **more)
    file.seek(0)
    return file


def test_exif_turns():
    values = PICTURES[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = decoded(file_of(Image.fromarray(values), exif=exif), 1, None)
    assert torch.equal(turned[0], torch.from_numpy(np.rot90(values, -1).copy()))


def test_palette_and_alpha():
    color = Image.new("RGB", (2, 1))
    color.putdata([(255, 0, 0), (0, 0, 255)])
    expected = torch.tensor([[[255, 0]], [[0, 0]], [[0, 255]]], dtype=torch.uint8)
    assert torch.equal(decoded(file_of(color.quantize(4)), 3, None), expected)
    clear = color.convert("RGBA")
    clear.putpixel((1, 0), (0, 0, 255, 0))  # wholly transparent: white
    white = torch.tensor([[[255, 255]], [[0, 255]], [[0, 255]]], dtype=torch.uint8)
    assert torch.equal(decoded(file_of(clear), 3, None), white)
    palette = color.quantize(4)
    index = palette.getpixel((1, 0))
    assert torch.equal(decoded(file_of(palette, transparency=index), 3, None), white)
    gray = Image.new("LA", (1, 1), (100, 128))
    assert decoded(file_of(gray), 1, None).item() == round(100 * 128 / 255 + 127)


def test_depths():
    deep = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    for form in ("PNG", "TIFF"):
        assert decoded(file_of(Image.fromarray(deep), form), 1, None)[0, 0].tolist() == [0, 0, 1, 1, 128, 255]
    assert decoded(file_of(Image.fromarray(deep)), 3, None).shape == (3, 1, 6)
    real = np.array([[0, 0.5, 1]], np.float32)
    assert decoded(file_of(Image.fromarray(real), "TIFF"), 1, None)[0, 0].tolist() == [0, 128, 255]
    for wrong, what in ((real * 2, "to 2"), (real - 1, "from -1"), (np.full_like(real, np.inf), "NaN pixels")):
        with pytest.raises(ValueError, match=what):
            decoded(file_of(Image.fromarray(wrong), "TIFF"), 1, None)
    assert decoded(file_of(Image.fromarray(np.array([[True, False]]))), 1, None)[0, 0].tolist() == [255, 0]


def test_the_center_is_kept():
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    assert (decoded(file_of(Image.fromarray(wide)), 1, 10) == 200).all()
    assert (decoded(file_of(Image.fromarray(wide)), 1, 5) == 200).all()
    assert (decoded(file_of(Image.fromarray(wide.T.copy())), 1, 5) == 200).all()


def test_published_folder(data_root):
    data = sound(read_folder(data_root / "train400"))
    assert data.spec.shape == (1, 180, 180)
    assert [len(data.split(s).x) for s in SPLITS] == [320, 40, 40]


# -- points, and the shipped files ---------------------------------------------------------------


@pytest.mark.parametrize("make", [Ring, Moons])
def test_points(make):
    data = make(Identity(), 32).load()
    assert data.spec.kind == "points"
    assert data.spec.shape == (2,)
    assert data.train.x.dtype == torch.float32
    assert [data.split(s).x.shape for s in SPLITS] == [(10_000, 2), (1_000, 2), (1_000, 2)]
    assert data.train.x.mean(0).abs().max() < 0.05
    assert 0.4 < data.train.x.var().item() < 1.2
    assert not torch.equal(data.train.x[:1000], data.val.x)
    assert torch.equal(make(Identity(), 32, 10).load().train.x, data.train.x[:10])


def test_ring_is_round():
    radius = Ring(Identity(), 32).load().train.x.norm(dim=1)
    assert abs(radius.mean().item() - 1) < 0.01
    assert abs(radius.std().item() - 0.05) < 0.003


def test_nan_is_refused():
    x = torch.zeros(4, 2)
    assert finite(x, "points") is x
    for value in (float("nan"), float("inf")):
        x[1, 1] = value
        with pytest.raises(Refused, match=r"NaN or infinite points\n  got: 1 of 8"):
            finite(x, "points")


def configured(group, name):
    config = OmegaConf.load(CONF / group / f"{name}.yaml")
    return instantiate(OmegaConf.create({"codec": {"_target_": "denoiselab.data.base.Identity"}, group: config})[group])


@pytest.mark.parametrize(
    "path", sorted(CONF.glob("data/*.yaml")) + sorted(CONF.glob("codec/*.yaml")), ids=lambda p: p.stem
)
def test_shipped_files(path):
    assert path.read_text().startswith("# ")
    assert "\n_target_: denoiselab.data." in path.read_text()
    part = configured(path.parent.name, path.stem)
    if path.parent.name == "data":
        assert part.batch_size >= 1
        assert part.n is None


# -- levels


@pytest.mark.parametrize("channels", [1, 3])
def test_levels_are_mean_and_covariance_of_the_channels(channels):
    x = torch.randint(256, (50, channels, 5, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    x[:, :, :, 3:] //= torch.randint(1, 9, (50, channels, 1, 1), dtype=torch.uint8)
    found = torch.tensor(levels(x), dtype=torch.float64)
    means = (x.double() / 127.5 - 1).mean((2, 3))
    torch.testing.assert_close(found[:, 0], means.mean(0), rtol=1e-12, atol=1e-12)
    cov = torch.cov(means.T, correction=0).reshape(channels, channels)
    torch.testing.assert_close(found[:, 1:], torch.linalg.cholesky(cov), rtol=1e-9, atol=1e-12)


def test_levels_of_alike_channels_and_of_one_picture_are_finite():
    gray = torch.randint(256, (50, 1, 5, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = torch.tensor(levels(gray.expand(-1, 3, -1, -1)))
    mean, std = levels(gray)[0]
    torch.testing.assert_close(found, torch.tensor([[mean, std, 0.0, 0.0]]).expand(3, 4))
    assert levels(gray[:1]) == ((pytest.approx(gray[0].float().mean().item() / 127.5 - 1), 0.0),)


def test_levels_are_told_with_the_pictures_that_are_trained_on():
    data = Digits(Identity(), 32, n=100).load()
    assert data.spec.levels == levels(data.train.x)
    assert len(data.train.x) == 100
    assert Ring(Identity(), 32, 100).load().spec.levels == ()


# -- sheets, and pictures in larger squares


def test_a_row_of_a_sheet_is_a_picture(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    Image.fromarray(x[:6].reshape(6, 16, 3)).save(tmp_path / "a.png")
    Image.fromarray(x[6:].reshape(4, 16, 3)).save(tmp_path / "b.png")
    data = Sheets(Identity(), str(tmp_path), 4, side=4).load()
    found = torch.cat([data.train.x, data.val.x, data.test.x])
    expected = torch.from_numpy(x).permute(0, 3, 1, 2)
    assert data.spec.shape == (3, 4, 4)
    assert sorted(p.flatten().tolist() for p in found) == sorted(p.flatten().tolist() for p in expected)


def test_a_sheet_of_another_width_is_named(tmp_path):
    Image.new("RGB", (17, 3)).save(tmp_path / "a.png")
    with pytest.raises(Refused, match=r"4 x 4: 16 pixels\n.*a.png is 17 wide"):
        Sheets(Identity(), str(tmp_path), 4, side=4).load()
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(Refused, match=r"a.png cannot be read"):
        Sheets(Identity(), str(tmp_path), 4, side=4).load()


def test_cifar_is_what_was_published(data_root):
    data = Sheets(Identity(), str(data_root / "cifar10-subset"), 4).load()
    x = torch.cat([data.train.x, data.val.x, data.test.x]).double() / 255
    assert x.shape == (2000, 3, 32, 32)
    assert_close(x.mean((0, 2, 3)), torch.tensor([0.4914, 0.4835, 0.4468]).double(), rtol=0, atol=1e-4)


def test_pictures_are_laid_in_the_middle_of_a_black_square(data_root):
    small, large = (IDX(Identity(), str(data_root / "mnist"), 4, n=5, size=size).load() for size in (None, 32))
    assert large.spec.shape == (1, 32, 32)
    assert torch.equal(large.train.x[..., 2:30, 2:30], small.train.x)
    assert large.train.x.long().sum() == small.train.x.long().sum()
    with pytest.raises(Refused, match="at least 28"):
        IDX(Identity(), str(data_root / "mnist"), 4, n=5, size=20).load()
