"""The first stage of a run that works in the latents of another: a finished autoencoder.

It is named by a path (codec.run=RUN) and known by content: the digest of its best checkpoint is in the fingerprint of
the data. Before training it is copied into the run's own folder, codec/config.yaml and codec/best.ckpt, whole or not at
all; from then on the copy is what opens the run, and RUN may be moved or deleted. The copy can be named as RUN itself.
"""

import filecmp
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from denoiselab import build
from denoiselab.architecture.autoencoder import Coder
from denoiselab.data.base import Loaded
from denoiselab.data.latent import Latent
from denoiselab.denoiser import X0, Continuous
from denoiselab.files import sync
from denoiselab.run import checkpoint, identity
from denoiselab.run.folder import described
from denoiselab.spec import Failed, Refused, Spec

FIRST = "train one first, denoiselab train experiment=autoencoder data=..., and give codec.run=FOLDER, which it prints"
WHOLE = "denoiselab train experiment=autoencoder trains one that can be a first stage"


def load(config: dict) -> Loaded:
    """The data of a configuration, in memory; pictures as latents where it says so. Raises `Refused`."""
    plan = planned(config)
    if plan is not None and plan.run is None:
        raise Refused("codec=latent works in the latents of a finished autoencoder", "codec.run=null", FIRST)
    # Before the data is read: what is wrong with the run is said at once.
    stage = None if plan is None else located(plan.run)
    data = build.load(config)
    if stage is None:
        return data
    network, digest = opened(stage, data.spec, config.get("plugins") or ())
    return plan.opened(network, digest, data)


def planned(config: dict) -> Latent | None:
    """The codec of a configuration, where it is one of latents."""
    data = config.get("data")
    node = data.get("codec") if isinstance(data, dict) else None
    if not (isinstance(node, dict) and "_target_" in node):
        return None
    made = build.instantiated(node, "codec")
    return made if isinstance(made, Latent) else None


class Stage(NamedTuple):
    """Where a first stage lies."""

    folder: Path  # has config.yaml
    best: Path


def located(run: str) -> Stage:
    """The files of a finished run, or of a copy of one."""
    folder = Path(run).expanduser()
    if not (folder / "config.yaml").is_file():
        fix = f"give the folder that train printed, or the copy in a run of its latents, FOLDER/{identity.STAGE}"
        raise Refused("codec.run is the folder of a finished run, which has a config.yaml", run, fix)
    if (copy := folder / "best.ckpt").is_file():
        return Stage(folder, copy)
    if not (folder / "COMPLETED").is_file():
        fix = "give the command that began it again: it goes on to the end"
        raise Refused("codec.run is a finished run", f"{run}, which has no COMPLETED", fix)
    return Stage(folder, folder / "checkpoints" / "best.ckpt")


def opened(stage: Stage, spec: Spec, plugins: Sequence[str]) -> tuple[Coder, str]:
    """The network of a first stage for pictures of `spec`, with its best weights, and their digest. Its configuration
    may import those `plugins` alone."""
    try:
        config = described(stage.folder, plugins)
        build.allow(config)
    except Refused as e:
        raise Refused(f"the autoencoder in {stage.folder}: {e.what}", e.got, e.fix) from e
    if planned(config) is not None:
        raise Refused("codec.run encodes pictures, and not latents of another run", stage.folder, WHOLE)
    try:
        saved, digest = checkpoint.load(stage.best), checkpoint.digest_of(stage.best)
    except (OSError, checkpoint.Damaged) as e:
        fix = "put back checkpoints/best.ckpt of that autoencoder, or train it anew (rerun=true)"
        raise Refused(f"the autoencoder of codec.run={stage.folder} cannot be read", e, fix) from e
    about = saved.get("about")
    known = str(about.get("fingerprint")) if isinstance(about, dict) else ""
    identity.refuse_other(saved, identity.fit_hash(config, known), identity.about(config, known), stage.best)
    agreed = build.agree(config, spec)
    module = build.module(config, spec)
    denoiser = module.denoiser
    network = denoiser.network if isinstance(denoiser, Continuous) else None
    plain = isinstance(agreed.parameterization, X0) and agreed.spec.given == spec.shape
    if not (isinstance(network, Coder) and plain):
        got = f"architecture {type(agreed.architecture).__name__}, parameterization "
        got += f"{type(agreed.parameterization).__name__}, posterior {type(agreed.head).__name__}"
        raise Refused("codec.run is an autoencoder, whose output is the picture (x0, dirac)", got, WHOLE)
    trained_on = shape(saved, next(name for name, tensor in module.named_buffers() if tensor is network.shape))
    if trained_on != spec.shape:
        got, fix = f"{trained_on}, and not {spec.shape}", "train an autoencoder on this data, or give the data it knows"
        raise Refused("codec.run was trained on pictures of another shape", got, fix)
    try:
        module.load_state_dict(saved["state_dict"])
    except (LookupError, TypeError, AttributeError, RuntimeError) as e:
        raise Refused(f"the weights of {stage.best} are not those of its run", e, "train it anew (rerun=true)") from e
    return network, digest


def shape(saved: dict, name: str) -> tuple[int, ...] | None:
    """Of the pictures that a saved network was made for."""
    try:
        return tuple(saved["state_dict"][name].tolist())
    except (LookupError, TypeError, AttributeError):
        return None


def keep(data: Loaded, folder: Path) -> None:
    """Copies the first stage of a run into its folder, whole or not at all; leaves a whole copy as it is."""
    if not isinstance(data.codec, Latent):
        return
    stage, copy = located(data.codec.run), folder / identity.STAGE
    files = {copy / "config.yaml": stage.folder / "config.yaml", copy / "best.ckpt": stage.best}
    for left in folder.glob(f".{identity.STAGE}.*.tmp"):  # by a process that was killed
        shutil.rmtree(left)
    if all(here.is_file() and filecmp.cmp(here, there, shallow=False) for here, there in files.items()):
        return
    temporary = folder / f".{identity.STAGE}.{os.getpid()}.tmp"
    temporary.mkdir()
    for here, there in files.items():
        shutil.copyfile(there, temporary / here.name)
        sync(temporary / here.name)
    if checkpoint.digest_of(temporary / "best.ckpt") != data.coder:
        shutil.rmtree(temporary)
        raise Failed(f"codec.run={stage.folder} was trained anew meanwhile\n  fix: give the same command again")
    if copy.exists():
        shutil.rmtree(copy)
    os.replace(temporary, copy)
    sync(folder)


def own(config: dict, folder: Path) -> dict:
    """The configuration of a run folder, with the first stage that lies in it."""
    if planned(config) is None:
        return config
    copy = folder / identity.STAGE
    if not ((copy / "config.yaml").is_file() and (copy / "best.ckpt").is_file()):
        fix = "put config.yaml and checkpoints/best.ckpt of that autoencoder there"
        raise Refused(f"the run's copy of its autoencoder is gone: {copy}", "no config.yaml and best.ckpt", fix)
    codec = {"codec": {**config["data"]["codec"], "run": str(copy)}}
    return {**config, "data": {**config["data"], **codec}, **codec}
