"""Pictures in IDX files and in the hub's formats: what was written is read, what is damaged is named."""

import gzip
import os
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from test_data_image import PICTURES, configured, contents, sound

from denoiselab.data.base import SPLITS, Identity
from denoiselab.data.hub import Hub
from denoiselab.data.idx import IDX
from denoiselab.spec import Refused


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.delenv("DENOISELAB_DATA", raising=False)


# -- IDX -----------------------------------------------------------------------------------------


def idx(values):
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


LABELS = (np.arange(60) % 4).astype(np.uint8)
IMAGES, NAMES = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def four(tmp_path):
    for name, n in (("train", 60), ("t10k", 20)):
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(PICTURES[:n]))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(mtime=0, data=idx(LABELS[:n])))
    return tmp_path


def read_idx(root, **more):
    return IDX(Identity(), str(root), 8, validation=10, **more).load()


def test_idx_is_what_was_written(four):
    data = sound(read_idx(four))
    assert data.spec.shape == (1, 5, 7)
    assert data.spec.classes == 4
    assert torch.equal(torch.cat((data.train.x, data.val.x))[:, 0], torch.from_numpy(PICTURES))
    assert len(data.val.x) == 10
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
        (IMAGES, gzip.compress(mtime=0, data=idx(PICTURES))[:-30], "gzip"),
        (IMAGES, idx(PICTURES[:59]), "59 in"),
        (IMAGES, idx(PICTURES[:, :4]), "differ in size"),
        (NAMES + ".gz", b"no gzip at all", "gzip"),
        (NAMES + ".gz", gzip.compress(mtime=0, data=idx(LABELS))[:-9] + b"123456789", "gzip"),
        (NAMES + ".gz", gzip.compress(mtime=0, data=idx(LABELS[:30])), "30 in"),
    ],
    ids=range(14),
)
def test_bad_idx_is_named(four, name, content, what):
    (four / name).write_bytes(content)
    with pytest.raises(Refused) as error:
        read_idx(four)
    assert what in str(error.value)
    assert name in str(error.value) or what == "differ in size"


def test_idx_absent(four, monkeypatch):
    (four / IMAGES).unlink()
    with pytest.raises(Refused, match=f"no {IMAGES}"):
        read_idx(four)
    with pytest.raises(Refused, match="https://there"):
        read_idx(four / "absent", source="https://there")
    with pytest.raises(Refused, match=r"data\.root=FOLDER"):
        IDX(Identity(), None, 8).load()
    monkeypatch.setenv("DENOISELAB_DATA", str(four))
    with pytest.raises(Refused, match=r"\$DENOISELAB_DATA(.|\n)*https://there"):
        IDX(Identity(), None, 8, below="mnist", source="https://there").load()


@pytest.mark.parametrize("validation", [0, 60, -1])
def test_idx_validation(four, validation):
    with pytest.raises(Refused, match=r"data\.validation"):
        IDX(Identity(), str(four), 8, validation=validation).load()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_published(data_root, monkeypatch, name):
    monkeypatch.setenv("DENOISELAB_DATA", str(data_root))
    data = sound(configured("data", name).load())
    assert [len(data.split(s).x) for s in SPLITS] == [55_000, 5_000, 10_000]
    assert data.spec.shape == (1, 28, 28)
    assert data.test.context["label"].bincount(minlength=10).sum() == 10_000
    assert data.spec.classes == 10
    first = {"mnist": [7, 2, 1, 0, 4], "fashion_mnist": [9, 2, 1, 1, 6]}[name]
    assert data.test.context["label"][:5].tolist() == first


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
    assert saved.fingerprint() == parquet.fingerprint()
    assert len(saved.notes) == 2
    assert [len(saved.split(s).x) for s in SPLITS] == [32, 4, 4]
    assert saved.spec.classes == 5
    pairs = {(p.tobytes(), int(c)) for p, c in zip(PICTURES[:40], LABELS[:40], strict=True)}
    got = contents(saved)
    assert got == pairs
    unlabeled = sound(read_hub(tmp_path / "saved", label=None))
    assert not unlabeled.spec.classes
    assert torch.equal(unlabeled.train.x, saved.train.x)


def test_hub_splits_stand(hub, tmp_path):
    import datasets

    named = datasets.DatasetDict(train=hub.select(range(20)), test=hub.select(range(20, 40)), more=hub.select([0]))
    named.save_to_disk(str(tmp_path / "saved"))
    data = sound(read_hub(tmp_path / "saved"))
    assert torch.equal(data.test.x[:, 0], torch.from_numpy(PICTURES[20:40]))
    assert len(data.train.x) == 18
    assert data.notes == ["ignored splits: more", "no validation split: a tenth of the training split is taken"]
    named.pop("train")
    named.save_to_disk(str(tmp_path / "other"))
    with pytest.raises(Refused, match="no split named train"):
        read_hub(tmp_path / "other")


def test_hub_folder_of_pictures(hub, tmp_path):
    for i in range(5):
        Image.fromarray(PICTURES[i]).save(tmp_path / f"{i}.png")
    data = sound(read_hub(tmp_path, image="image", label=None))
    assert {x.numpy().tobytes() for s in SPLITS for x in data.split(s).x} == {p.tobytes() for p in PICTURES[:5]}


def test_idx_from_the_hub(hub, tmp_path, four):
    """The same content by another way is the same data."""
    import datasets

    hub = hub.rename_columns({"img": "image", "kind": "label"})
    datasets.DatasetDict(train=hub, test=hub.select(range(20))).save_to_disk(str(tmp_path / "saved"))
    (four / IMAGES).write_bytes(idx(PICTURES[:40]))
    (four / f"{NAMES}.gz").write_bytes(gzip.compress(mtime=0, data=idx(LABELS[:40])))
    online = sound(IDX(Identity(), None, 8, hub=str(tmp_path / "saved"), validation=10).load())
    assert online.fingerprint() == read_idx(four).fingerprint()


def test_hub_mistakes_are_named(hub, tmp_path):
    hub.save_to_disk(str(tmp_path / "saved"))
    for more, what in (({"image": "imgs"}, "did you mean img"), ({"label": "kinds"}, "did you mean kind"),
                       ({"image": "kind"}, "no pictures"), ({"label": "img"}, "no classes")):  # fmt: skip
        with pytest.raises(Refused, match=what):
            read_hub(tmp_path / "saved", **more)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="empty"):
        read_hub(tmp_path / "empty")
    with pytest.raises(Refused, match=r"data\.dataset=OWNER/NAME"):
        Hub(Identity(), None, 8).load()


def test_hub_without_a_network(tmp_path):
    """In a process of its own, whose hub is a port that nothing listens to: no retries, and the way out is said."""
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
    assert result.stdout.count("owner/name cannot be had") == 2
    assert "data.dataset=FOLDER" in result.stdout
    assert re.search("https://there.*data.root=FOLDER", result.stdout)
    assert "Retry" not in result.stderr


def test_hub_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(Refused, match=r"pip install 'denoiselab\[hub\]'"):
        Hub(Identity(), "owner/name", 8).load()
