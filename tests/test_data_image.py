"""Pictures and points: what is on disk comes in unchanged, and what is damaged is named."""

import gzip
import io
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from denoiselab.data.base import SPLITS, Identity
from denoiselab.data.folder import Folder
from denoiselab.data.hub import Hub
from denoiselab.data.idx import IDX
from denoiselab.data.image import Digits, decoded
from denoiselab.data.points import Moons, Ring
from denoiselab.data.splits import finite, parts
from denoiselab.data.tokenizer import Byte
from denoiselab.spec import Refused

CONF = Path(__file__).parents[1] / "conf"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.delenv("DENOISELAB_DATA", raising=False)


def sound(data):
    """What every picture data set keeps."""
    classes, shape = data.spec.classes, data.spec.shape
    for split in SPLITS:
        x, context = data.split(split)
        assert x.dtype == torch.uint8 and x.shape[1:] == shape and len(x) and x.is_contiguous()
        assert context.keys() == data.spec.context
        if classes:
            label = context["label"]
            assert label.dtype == torch.int64 and label.shape == (len(x),) and 0 <= label.min() and label.max() < classes
    return data


def test_digits():
    from sklearn.datasets import load_digits

    data = sound(Digits(Identity(), 32).load())
    assert [len(data.split(s).x) for s in SPLITS] == [1297, 200, 300] and data.spec.classes == 10
    known = {((i * 255 / 16).round().astype(np.uint8).tobytes(), int(c)) for i, c in zip(*load_digits(return_X_y=True))}
    got = [(x.numpy().tobytes(), int(c)) for s in SPLITS for x, c in zip(data.split(s).x, data.split(s).context["label"])]
    assert set(got) == known and len(got) == 1797
    assert data.train.x.min() == 0 and data.train.x.max() == 255 and len(data.test.context["label"].unique()) == 10
    assert data.fingerprint() == Digits(Identity(), 64).load().fingerprint()


def test_n_keeps_the_first():
    part, whole = Digits(Identity(), 32, 100).load(), Digits(Identity(), 32).load()
    assert torch.equal(part.train.x, whole.train.x[:100]) and torch.equal(part.test.x, whole.test.x)
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


# -- IDX -----------------------------------------------------------------------------------------


def idx(values):
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


PICTURES = np.random.default_rng(0).integers(0, 256, (60, 5, 7), dtype=np.uint8)
LABELS = (np.arange(60) % 4).astype(np.uint8)
IMAGES, NAMES = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def four(tmp_path):
    for name, n in (("train", 60), ("t10k", 20)):
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(PICTURES[:n]))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:n])))
    return tmp_path


def read_idx(root, **more):
    return IDX(Identity(), str(root), 8, validation=10, **more).load()


def test_idx_is_what_was_written(four):
    data = sound(read_idx(four))
    assert data.spec.shape == (1, 5, 7) and data.spec.classes == 4
    assert torch.equal(torch.cat((data.train.x, data.val.x))[:, 0], torch.from_numpy(PICTURES)) and len(data.val.x) == 10
    assert torch.equal(data.test.x[:, 0], torch.from_numpy(PICTURES[:20]))
    labels = torch.cat((data.train.context["label"], data.val.context["label"]))
    assert labels.tolist() == LABELS.tolist()
    assert data.train.x.untyped_storage().data_ptr() == data.val.x.untyped_storage().data_ptr()  # no copy


@pytest.mark.parametrize("spell", [lambda n: n, lambda n: n + ".gz", lambda n: n.replace("-idx", ".idx")])
def test_idx_by_any_name(four, spell):
    raw = (four / IMAGES).read_bytes()
    (four / IMAGES).unlink()
    name = spell(IMAGES)
    (four / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    assert len(read_idx(four).train.x) == 50


@pytest.mark.parametrize(
    "name, content, what",
    [
        (IMAGES, idx(PICTURES)[:-1], "truncated"),
        (IMAGES, idx(PICTURES)[:9], "truncated"),
        (IMAGES, idx(PICTURES) + b"\0", "more than its header says"),
        (IMAGES, idx(PICTURES[:0]), "truncated"),
        (IMAGES, b"", "empty file"),
        (IMAGES, idx(LABELS), "00000803"),
        (IMAGES, b"\0\0\x0d\x03" + idx(PICTURES)[4:], "00000d03"),
        (IMAGES, struct.pack("<4I", 0x803, 60, 5, 7) + PICTURES.tobytes(), "03080000"),
        (IMAGES, gzip.compress(idx(PICTURES))[:-30], "gzip"),
        (IMAGES, idx(PICTURES[:59]), "59 in"),
        (IMAGES, idx(PICTURES[:, :4]), "differ in size"),
        (NAMES + ".gz", b"no gzip at all", "gzip"),
        (NAMES + ".gz", gzip.compress(idx(LABELS))[:-9] + b"123456789", "gzip"),
        (NAMES + ".gz", gzip.compress(idx(LABELS[:30])), "30 in"),
    ],
)
def test_bad_idx_is_named(four, name, content, what):
    (four / name).write_bytes(content)
    with pytest.raises(Refused) as error:
        read_idx(four)
    assert what in str(error.value) and (name in str(error.value) or what == "differ in size")


def test_idx_absent(four, monkeypatch):
    (four / IMAGES).unlink()
    with pytest.raises(Refused, match=f"no {IMAGES}"):
        read_idx(four)
    with pytest.raises(Refused, match="https://there"):
        read_idx(four / "absent", source="https://there")
    with pytest.raises(Refused, match="data.root=FOLDER"):
        IDX(Identity(), None, 8).load()
    monkeypatch.setenv("DENOISELAB_DATA", str(four))
    with pytest.raises(Refused, match=r"\$DENOISELAB_DATA(.|\n)*https://there"):
        IDX(Identity(), None, 8, below="mnist", source="https://there").load()


@pytest.mark.parametrize("validation", [0, 60, -1])
def test_idx_validation(four, validation):
    with pytest.raises(Refused, match="data.validation"):
        IDX(Identity(), str(four), 8, validation=validation).load()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_published(data_root, monkeypatch, name):
    monkeypatch.setenv("DENOISELAB_DATA", str(data_root))
    data = sound(configured("data", name).load())
    assert [len(data.split(s).x) for s in SPLITS] == [55_000, 5_000, 10_000] and data.spec.shape == (1, 28, 28)
    assert data.test.context["label"].bincount(minlength=10).sum() == 10_000 and data.spec.classes == 10
    first = {"mnist": [7, 2, 1, 0, 4], "fashion_mnist": [9, 2, 1, 1, 6]}[name]
    assert data.test.context["label"][:5].tolist() == first


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
    assert data.spec.shape == (1, 6, 8) and not data.spec.classes and not data.notes
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
    assert data.fingerprint() == before and data.notes == ["skipped 1 files that are no pictures: README.md"]


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
    assert "4 of 16" in str(error.value) and "NaN pixels" in str(error.value)
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
    with pytest.raises(Refused, match="data.root=FOLDER"):
        Folder(Identity(), None, 8).load()
    Image.new("L", (5, 6)).save(tmp_path / "one.png")
    with pytest.raises(Refused, match="3 or more"):
        read_folder(tmp_path)
    for wrong in (dict(channels=2), dict(size=0)):
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
    assert data.spec.shape == (1, 180, 180) and [len(data.split(s).x) for s in SPLITS] == [320, 40, 40]


# -- hub -----------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()
    pictures = [Image.fromarray(p) for p in PICTURES[:40]]
    features = datasets.Features(img=datasets.Image(), kind=datasets.ClassLabel(names=["a", "b", "c", "d", "e"]))
    return datasets.Dataset.from_dict({"img": pictures, "kind": LABELS[:40].tolist()}, features)


def read_hub(path, **more):
    return Hub(Identity(), str(path), 8, **{"image": "img", "label": "kind", "channels": 1, **more}).load()


def test_hub_saved_and_parquet(hub, tmp_path):
    hub.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "parquet").mkdir()
    hub.to_parquet(str(tmp_path / "parquet" / "train.parquet"))
    saved, parquet = sound(read_hub(tmp_path / "saved")), sound(read_hub(tmp_path / "parquet"))
    assert saved.fingerprint() == parquet.fingerprint() and len(saved.notes) == 2
    assert [len(saved.split(s).x) for s in SPLITS] == [32, 4, 4] and saved.spec.classes == 5
    pairs = {(p.tobytes(), int(c)) for p, c in zip(PICTURES[:40], LABELS[:40], strict=True)}
    got = {(x.numpy().tobytes(), int(c)) for s in SPLITS for x, c in zip(saved.split(s).x, saved.split(s).context["label"])}
    assert got == pairs
    unlabeled = sound(read_hub(tmp_path / "saved", label=None))
    assert not unlabeled.spec.classes and torch.equal(unlabeled.train.x, saved.train.x)


def test_hub_splits_stand(hub, tmp_path):
    import datasets

    named = datasets.DatasetDict(train=hub.select(range(20)), test=hub.select(range(20, 40)), more=hub.select([0]))
    named.save_to_disk(str(tmp_path / "saved"))
    data = sound(read_hub(tmp_path / "saved"))
    assert torch.equal(data.test.x[:, 0], torch.from_numpy(PICTURES[20:40])) and len(data.train.x) == 18
    assert data.notes == ["ignored splits: more", "no validation split: a tenth of the training split is taken"]
    named.pop("train")
    named.save_to_disk(str(tmp_path / "other"))
    with pytest.raises(Refused, match="no split named train"):
        read_hub(tmp_path / "other")


def test_hub_folder_of_pictures(hub, folder):
    assert sound(read_hub(folder, image="image", label=None)).spec.shape == (1, 6, 8)


def test_hub_mistakes_are_named(hub, tmp_path):
    hub.save_to_disk(str(tmp_path / "saved"))
    for more, what in ((dict(image="imgs"), "did you mean img"), (dict(label="kinds"), "did you mean kind"),
                       (dict(image="kind"), "no pictures"), (dict(label="img"), "no classes")):  # fmt: skip
        with pytest.raises(Refused, match=what):
            read_hub(tmp_path / "saved", **more)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="empty"):
        read_hub(tmp_path / "empty")
    with pytest.raises(Refused, match="data.dataset=OWNER/NAME"):
        Hub(Identity(), None, 8).load()


def test_hub_without_a_network(tmp_path):
    """In a process of its own, whose hub is a port that nothing listens to: no long retries, and the way out is said."""
    pytest.importorskip("datasets", reason="the extra hub is not installed")
    code = """
from denoiselab.data.base import Identity
from denoiselab.data.hub import Hub
from denoiselab.data.idx import IDX
from denoiselab.spec import Refused
for data in (Hub(Identity(), "owner/name", 8), IDX(Identity(), None, 8, hub="owner/name", source="https://there")):
    try:
        data.load()
    except Refused as error:
        print(error)
"""
    env = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    env |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=env)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("owner/name cannot be had") == 2 and "data.dataset=FOLDER" in result.stdout
    assert re.search("https://there.*data.root=FOLDER", result.stdout) and "Retry" not in result.stderr


def test_hub_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(Refused, match=r"pip install 'denoiselab\[hub\]'"):
        Hub(Identity(), "owner/name", 8).load()


# -- points, and the shipped files ---------------------------------------------------------------


@pytest.mark.parametrize("make", [Ring, Moons])
def test_points(make):
    data = make(Identity(), 32).load()
    assert data.spec.kind == "points" and data.spec.shape == (2,) and data.train.x.dtype == torch.float32
    assert [data.split(s).x.shape for s in SPLITS] == [(10_000, 2), (1_000, 2), (1_000, 2)]
    assert data.train.x.mean(0).abs().max() < 0.05 and 0.4 < data.train.x.var().item() < 1.2
    assert not torch.equal(data.train.x[:1000], data.val.x)
    assert torch.equal(make(Identity(), 32, 10).load().train.x, data.train.x[:10])


def test_ring_is_round():
    radius = Ring(Identity(), 32).load().train.x.norm(dim=1)
    assert abs(radius.mean().item() - 1) < 0.01 and abs(radius.std().item() - 0.05) < 0.003


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


@pytest.mark.parametrize("path", sorted(CONF.glob("data/*.yaml")) + sorted(CONF.glob("codec/*.yaml")), ids=lambda p: p.stem)
def test_shipped_files(path):
    assert path.read_text().startswith("# ") and "\n_target_: denoiselab.data." in path.read_text()
    part = configured(path.parent.name, path.stem)
    if path.parent.name == "data":
        assert part.batch_size >= 1 and part.n is None
