"""A finished run, from Python.

run = denoiselab.load("outputs/diffusion/default-0123456789")
x = run.sample(16)                                # (16, 1, 8, 8), in [-1, 1]
belief = run.denoiser(x_t, t)                     # a posterior: .mean, .mode, .sample(random), .log_prob(x)
x = run.sample(16, sampler=run.sampler("heun", steps=10))
x = run.sample(16, label=[0, 1], guidance=run.guidance("classifier_free", weight=3.0))   # of a conditional run

A run folder is data, whoever made it: nothing in it is run. Where its configuration names code of somebody's own, it is
opened by who allows that: denoiselab.load(PATH, plugins=["her_package"]).
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from denoiselab import build
from denoiselab.data.base import Loaded
from denoiselab.denoiser import Denoiser
from denoiselab.evaluation.asked import Wish, wishes
from denoiselab.evaluation.evaluate import Evaluation, Found, conditions, generate
from denoiselab.files import CONF
from denoiselab.guidance import Guidance
from denoiselab.module import DenoisingModule
from denoiselab.run import checkpoint, first, identity, record, start
from denoiselab.run.folder import described
from denoiselab.sampler import Generates, Sampler
from denoiselab.sampler.base import nothing
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
        return build.make(self.config, "evaluation", self.data.spec)

    def sampler(self, name: str | None = None, **arguments) -> Sampler:
        """A sampler by the name of its choice, or the run's own, with other arguments (steps ...); refused where it
        does not fit the run."""
        sampler = build.made(self.chosen("sampler", name, arguments), "sampler", self.spec)
        sampler.accepts(self.spec)
        return sampler

    def guidance(self, name: str | None = None, **arguments) -> Guidance:
        """A guidance by the name of its choice, or the run's own, with other arguments (weight ...)."""
        guidance = build.made(self.chosen("guidance", name, arguments), "guidance", self.spec)
        guidance.accepts(self.spec)
        return guidance

    def chosen(self, group: str, name: str | None, arguments: dict) -> dict:
        """The run's own node of a group, or that of a choice, with arguments; refused where it does not take them."""
        node = self.config.get(group)
        if name:
            choices = {file.stem: file for file in (CONF / group).glob("*.yaml")}
            if name not in choices:
                raise Refused(f"there is no {group} {name!r}", name, near(name, choices))
            node = read(group, choices[name], self.config)
        # The grid's own arguments come last: they are of the grid that is chosen.
        of_grid = arguments.get("grid.", {})
        for key, value in arguments.items():
            if key == "grid.":
                continue
            if key == "grid" and isinstance(value, str):
                value = self.chosen("grid", value, {})
            node = changed(node, key, value, group)
        for key, value in of_grid.items():
            if "grid" not in node:
                raise Refused(f"this {group} looks along no grid", f"grid.{key}={value}", "leave it out")
            node = {**node, "grid": changed(node["grid"], key, value, "grid")}
        return node

    def guided(self, guidance: Guidance | None = None) -> Denoiser:
        """What samples are made with: the run's denoiser under a guidance, its own unless another is given."""
        return (guidance or self.module.parts.guidance).build(self.denoiser, self.corruption, self.data)

    def agreed(self, sampler: Sampler | None = None, guidance: Guidance | None = None) -> Spec:
        """What is agreed with a sampler and a guidance, the run's own unless others are given; raises `Refused`."""
        parts = self.module.parts
        return (sampler or parts.sampler).accepts((guidance or parts.guidance).accepts(self.spec))

    def wanted(self, n: int, agreed: Spec, **asked: Wish) -> dict[str, torch.Tensor]:
        """The context that asks n samples for label=3 or caption="a five", one or several in turn; what nobody asks for
        is as in the test split."""
        return conditions(self.data.test, agreed, n) | wishes(self.data, agreed, n, asked)

    def sample(self, n: int, sampler: Sampler | None = None, seed: int = 0, batch_size: int = 256,
               guidance: Guidance | None = None, pulse: Callable[[], None] = nothing,
               **asked: Wish) -> torch.Tensor:  # fmt: skip
        """n new samples (n, *), in model space, on the CPU. Sample i is a function of (seed, i) and of what is `asked`,
        see `wanted`. `pulse` is called at each move."""
        if n < 1 or batch_size < 1:
            raise Refused("n and batch_size count samples", f"n={n} batch_size={batch_size}", "give at least 1")
        agreed = self.agreed(sampler, guidance)
        sampler = sampler or self.module.parts.sampler
        if Generates not in agreed.facts:
            raise Refused("this sampler restores and does not generate", type(sampler).__name__,
                          "give the run something to restore (denoiselab restore run=RUN input=FILE), or a run that "
                          "generates: experiment=mdlm, or the default")  # fmt: skip
        wanted = self.wanted(n, agreed, **asked)
        return generate(self.guided(guidance), self.corruption, sampler, agreed, n, seed, batch_size,
                        self.module.device, pulse, wanted)  # fmt: skip

    def evaluated(self, sampler: Sampler, guidance: Guidance, evaluation: Evaluation, split: str = "test",
                  pulse: Callable[[], None] = nothing) -> Found:  # fmt: skip
        """What an evaluation finds of this run under another sampler and guidance."""
        own = self.module.parts
        self.module.parts = own._replace(sampler=sampler, guidance=guidance)
        try:
            return evaluation(self.module, self.data, split, pulse)
        finally:
            self.module.parts = own


def read(group: str, file: Path, config: dict) -> dict:
    """A choice of a group; what it refers to is the configuration's."""
    from omegaconf import OmegaConf

    node = {**config, group: OmegaConf.load(file)}
    return OmegaConf.to_container(OmegaConf.create(node)[group], resolve=True)


def changed(node: dict, key: str, value: object, group: str) -> dict:
    """A node with another value of an argument, its own or that of a step within."""
    step = node.get("step", {})
    if key in step:
        return {**node, "step": {**step, key: value}}
    if key in node:
        return {**node, key: value}
    known = [k for k in (*node, *step) if k not in ("_target_", "_partial_", "step", "inner", "grid")]
    fix = near(key, known) if known else "leave it out"
    raise Refused(f"this {group} has no argument {key!r}", f"{key}={value}", fix)
