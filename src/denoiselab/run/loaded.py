"""A finished run, from Python.

run = denoiselab.load("outputs/diffusion/default-0123456789")
x = run.sample(16)                                # (16, 1, 8, 8), in [-1, 1]
belief = run.denoiser(x_t, t)                     # a posterior: .mean, .mode, .sample(random), .log_prob(x)
x = run.sample(16, sampler=run.sampler("heun", steps=10))

A run folder is data, whoever made it: nothing in it is run. Where its configuration names code of somebody's own, it is
opened by who allows that: denoiselab.load(PATH, plugins=["her_package"]).
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import torch

from denoiselab import build
from denoiselab.data.base import Loaded
from denoiselab.evaluation.evaluate import Evaluation, generate
from denoiselab.files import CONF
from denoiselab.module import DenoisingModule
from denoiselab.run import checkpoint, first, identity, record, start
from denoiselab.run.folder import described
from denoiselab.sampler import Generates, Sampler
from denoiselab.spec import Refused, Spec, near


class Run:
    """A run folder, opened. `weights` is "best" (by the run's monitor) or the stem of another checkpoint's file;
    `device` a GPU where there is one, unless another is given. `plugins` names the packages of code that the run may
    import, if it asks for them: without it a folder from somebody else is only data."""

    def __init__(self, path: str | Path, weights: str = "best", device: str | None = None,
                 plugins: Sequence[str] = ()):  # fmt: skip
        self.folder = Path(path)
        config = described(self.folder, plugins)
        build.allow(config)
        scored = self.folder.resolve().parent.name == "scores"
        trained = self.folder.resolve().parents[1] if scored else self.folder
        self.config = first.own(config, trained)
        checkpoints = trained / "checkpoints"
        file = checkpoints / f"{weights}.ckpt"
        if not file.is_file():
            kept = [p.stem for p in checkpoints.glob("*.ckpt")]
            raise Refused(f"the run has no checkpoint {weights!r}", path, near(weights, kept) if kept else "train it")
        try:
            saved = checkpoint.load(file)
        except checkpoint.Damaged as e:
            raise Refused(f"the checkpoint {weights!r} cannot be read", e, "give another: weights=NAME") from e
        self.data: Loaded = first.load(self.config)
        fingerprint = start.fingerprint(self.config, self.data)
        fit, about = identity.fit_hash(self.config, fingerprint), identity.about(self.config, fingerprint)
        identity.refuse_other(saved, fit, about, file)
        self.module: DenoisingModule = build.module(self.config, self.data.spec).eval()
        try:
            self.module.load_state_dict(saved["state_dict"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as e:
            raise Refused(f"the weights of {file} are not those of this run", e, "give another: weights=NAME") from e
        self.module.requires_grad_(False).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def denoiser(self):
        return self.module.denoiser

    @property
    def corruption(self):
        return self.module.corruption

    @property
    def spec(self) -> Spec:
        return self.module.parts.spec

    @functools.cached_property
    def summary(self) -> dict:
        return record.read_summary(self.folder)

    @functools.cached_property
    def evaluation(self) -> Evaluation:
        return build.make(self.config, "evaluation")

    def sampler(self, name: str | None = None, **arguments) -> Sampler:
        """A sampler by the name of its choice, or the run's own, with other arguments (steps ...); refused where it
        does not fit the run."""
        config = dict(self.config)
        if name:
            choices = {file.stem: file for file in (CONF / "sampler").glob("*.yaml")}
            if name not in choices:
                raise Refused(f"there is no sampler {name!r}", name, near(name, choices))
            config["sampler"] = chosen(choices[name])
        node = config["sampler"] = dict(config["sampler"])
        for key, value in arguments.items():
            step = node.get("step", {})
            if key in step:
                node["step"] = {**step, key: value}
            elif key in node:
                node[key] = value
            else:
                known = [k for k in (*node, *step) if k not in ("_target_", "step", "grid")]
                fix = near(key, known) if known else "leave it out"
                raise Refused(f"this sampler has no argument {key!r}", f"{key}={value}", fix)
        sampler = build.make(config, "sampler")
        sampler.accepts(self.spec)
        return sampler

    def sample(self, n: int, sampler: Sampler | None = None, seed: int = 0, batch_size: int = 256) -> torch.Tensor:
        """n new samples (n, *), in model space, on the CPU. Sample i is a function of (seed, i)."""
        if n < 1 or batch_size < 1:
            raise Refused("n and batch_size count samples", f"n={n} batch_size={batch_size}", "give at least 1")
        sampler = sampler or self.module.parts.sampler
        agreed = sampler.accepts(self.spec)
        if Generates not in agreed.facts:
            raise Refused("this sampler restores and does not generate", type(sampler).__name__, "use another sampler")
        device = self.module.device
        return generate(self.denoiser, self.corruption, sampler, self.spec, n, seed, batch_size, device)


def chosen(file: Path) -> dict:
    """A sampler's choice, resolved, with the default grid."""
    from omegaconf import OmegaConf

    node = {"sampler": OmegaConf.load(file), "grid": OmegaConf.load(CONF / "grid" / "even.yaml")}
    return OmegaConf.to_container(OmegaConf.create(node), resolve=True)["sampler"]
