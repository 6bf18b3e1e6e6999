"""The evaluation: the same for all seeds and batch sizes, in eval mode, with evidence that metrics can rest on."""

import pytest
import torch
from test_module import TEXT, N, module, table

from denoiselab.data.base import Identity, Loaded, Table
from denoiselab.data.batches import Once
from denoiselab.evaluation.evaluate import Evaluation, empty, generate, refusal
from denoiselab.evaluation.metrics import PSNR, Metric, TokenAccuracy, Value
from denoiselab.grid import even
from denoiselab.sampler import DDIM, Ancestral, Generates, Loop, OneShot
from denoiselab.schedule import Linear
from denoiselab.spec import Refused, Spec

GENERATING = {
    "diffusion": Loop(DDIM(), even, 3),
    "mdlm": Loop(Ancestral(), even, 3),
    "d3pm": Loop(Ancestral(), even, 3),
}
RESTORING = ["diffusion", "restoring", "bert", "mdlm"]


class Mean(Metric):
    """Of what it is shown; speaks about anything."""

    def accepts(self, spec):
        return spec

    def __call__(self, evidence):
        return {"mean": Value(evidence.clean.double().mean().item(), len(evidence.clean), evidence.split)}


def data(system):
    """The same samples in all splits, shifted."""
    t = table(system)
    return Loaded(module(system).parts.spec, t, t.take(slice(1, None)), t.take(slice(2, None)), Identity())


def sampling(system, sampler=None, **more):
    made = module(system, **more)
    made.parts = made.parts._replace(sampler=sampler or GENERATING.get(system, OneShot()))
    return made


@pytest.mark.parametrize("system", RESTORING)
def test_evidence_is_the_same_for_all_seeds_and_batch_sizes(system):
    found = []
    for seed, size in ((0, 10), (1, 10), (0, 3)):
        made, evaluation = sampling(system, OneShot(), seed=seed), Evaluation([], batch_size=size, samples=10)
        found.append(evaluation.evidence(made, data(system), "test")[0])
    for other in found[1:]:
        assert torch.equal(found[0].clean, other.clean)
        assert torch.equal(found[0].x_t, other.x_t)
        assert torch.equal(found[0].touched, other.touched)
    assert found[0].samples is None
    assert len(found[0].clean) == 10


def test_evidence_has_the_shapes_and_types_of_samples():
    for system in (*GENERATING, "restoring", "bert"):
        evidence, cost = Evaluation([], samples=7).evidence(sampling(system), data(system), "val")
        clean = evidence.clean
        assert (
            evidence.x_t.shape
            == evidence.restored.shape
            == evidence.touched.shape
            == clean.shape
            == (7, *clean.shape[1:])
        )
        assert evidence.touched.dtype == torch.bool
        assert clean.dtype == (torch.int64 if table(system).x.dtype == torch.int64 else torch.float32)
        assert evidence.split == "val"
        assert bool(cost) == (evidence.samples is not None) == (system in GENERATING)
        if system in GENERATING:
            assert evidence.samples.shape == clean.shape
            assert cost["network_calls_per_sample"] == 3
            assert cost["samples_per_second"] > 0


@pytest.mark.parametrize("system", GENERATING)
def test_a_new_sample_is_a_function_of_seed_and_place(system):
    made = sampling(system)
    parts = made.parts
    eight = generate(parts.denoiser, parts.corruption, parts.sampler, parts.spec, 8, 0)
    near = {"rtol": 1e-4, "atol": 1e-5} if eight.is_floating_point() else {"rtol": 0, "atol": 0}
    for n, batch_size in ((8, 3), (8, 1), (5, 256)):
        some = generate(parts.denoiser, parts.corruption, parts.sampler, parts.spec, n, 0, batch_size)
        torch.testing.assert_close(some, eight[:n], **near)
    assert not torch.equal(generate(parts.denoiser, parts.corruption, parts.sampler, parts.spec, 8, 1), eight)
    assert len(eight.unique(dim=0)) > 1


@pytest.mark.parametrize("system", ["diffusion", "restoring", "bert", "mdlm", "d3pm"])
def test_the_loss_is_that_of_validation_and_of_no_batch_size(system):
    made, loaded = sampling(system), data(system)
    losses = [Evaluation([], batch_size=size).loss(made, loaded.test) for size in (N, 7, 1)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)
    with torch.no_grad():
        asks = [made.examine(share) for share in Once(loaded.test, N)]
    assert losses[0] == pytest.approx((sum(a.cost.sum() for a in asks) / sum(a.count for a in asks)).item(), rel=1e-5)
    other = Evaluation([]).loss(sampling(system, evaluation_seed=3), loaded.test)
    assert other != losses[0]


def test_values_say_their_split_and_only_fitting_metrics_speak():
    evaluation = Evaluation([PSNR(), TokenAccuracy(), Mean()], samples=6)
    for system, expected in {"restoring": {"psnr", "psnr_input", "mean"}, "bert": {"masked_accuracy", "mean"},
                             "diffusion": {"mean"}}.items():  # fmt: skip
        values, evidence, *_ = evaluation(sampling(system), data(system), "val")
        assert set(values) == {f"val/{name}" for name in (*expected, "loss")}
        assert all(value.split == "val" for value in values.values())
        assert values["val/loss"].n == N - 1
        assert values["val/mean"].n == len(evidence.clean) == 6


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_module_as_it_was(training):
    made = sampling("diffusion").train(training)
    before, state = {k: v.clone() for k, v in made.state_dict().items()}, torch.get_rng_state()
    modes = []
    made.denoiser.network.register_forward_pre_hook(lambda network, _: modes.append(network.training))
    Evaluation([Mean()], samples=4)(made, data("diffusion"))
    assert made.training is made.denoiser.network.training is training
    assert modes
    assert not any(modes)
    assert all(torch.equal(before[k], v) for k, v in made.state_dict().items())
    assert all(p.grad is None for p in made.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("more", [{"samples": 0}, {"batch_size": 0}, {"held_out": 0}])
def test_sizes_that_mean_nothing_are_refused(more):
    with pytest.raises(Refused):
        Evaluation([], **more)


def test_a_refusal_is_given_in_words():
    assert "PSNR is for image" in refusal(PSNR(), Spec("tokens", (3,), 2))
    assert refusal(PSNR(), Spec("image", (1, 8, 8))) == ""
    assert Generates in Loop(DDIM(), even, 2).accepts(sampling("diffusion").parts.spec).facts


def test_empty_is_of_the_type_that_x_t_has():
    assert empty(TEXT, 3, "cpu").dtype == torch.int64
    assert empty(Spec("points", (2,)), 3, "cpu").shape == (3, 2)


def test_moving_keeps_all_of_a_share():
    [share] = Once(Table(torch.zeros(3, 2), {"label": torch.arange(3)}), 4)
    there = share.to(torch.device("cpu"))
    assert there.batch.context["label"].tolist() == there.place.tolist() == there.batch.key.tolist() == [0, 1, 2]
    assert there.n == 3


def test_a_schedule_that_ignores_time_has_one_severity_in_the_evidence():
    evidence, _ = Evaluation([], samples=N - 2).evidence(sampling("restoring"), data("restoring"), "test")
    share = evidence.touched.float().mean().item()
    assert 0.1 < share < 0.5  # of level 0.3
    assert Linear().t_min < Linear().t_max
