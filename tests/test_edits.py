"""Edits: what is asked stays as it was, to the bit; only noise or weights are others, and by as much as they say."""

import pytest
import torch
from common import full, keys, randn
from runs import train

from denoiselab.commands.main import run
from denoiselab.corruption import Batch, Degradation, GaussianNoise, SaltAndPepper
from denoiselab.corruption.edits import Emphasis, InputPerturbation, NoiseMismatch, OffsetNoise, Withhold
from denoiselab.corruption.operators import BlockMask, Blur, Snow
from denoiselab.randomness import Keyed
from denoiselab.schedule import Constant, Cosine, Linear, LinearBeta
from denoiselab.spec import Refused, Spec

IMAGE = Spec("image", (2, 6, 5))
# An edit, and a corruption that it is for.
EDITS = {
    "input_perturbation": (InputPerturbation(0.3), GaussianNoise),
    "offset_noise": (OffsetNoise(0.3), GaussianNoise),
    "noise_mismatch": (NoiseMismatch(1.3), GaussianNoise),
    "emphasis": (Emphasis(2.0, 0.5), SaltAndPepper),
}
WITHOUT_EFFECT = {
    "input_perturbation": (InputPerturbation(0.0), GaussianNoise),
    "offset_noise": (OffsetNoise(0.0), GaussianNoise),
    "noise_mismatch": (NoiseMismatch(1.0), GaussianNoise),
    "emphasis": (Emphasis(1.0, 1.0), SaltAndPepper),
}
NOISES = {k: v for k, v in EDITS.items() if k != "emphasis"}
every = pytest.mark.parametrize("edit, make", EDITS.values(), ids=EDITS)


def pictures(n):
    return Batch(randn(n, 2, 6, 5).clamp(-1, 1), torch.arange(n))


def edited(edit, make, n, schedule=None, t=None, random=None, batch=None):
    """What the corruption gave, and what the edit made of it."""
    schedule = schedule or Cosine()
    batch, random = batch or pictures(n), random or keys(n)
    t = torch.linspace(0.1, 1, n, dtype=torch.float64) if t is None else t
    c = make(schedule)(batch, t, random)
    return c, edit(c, batch, t, random.child("edit"), schedule)


@every
def test_what_is_asked_stays_as_it_was(edit, make):
    before, after = edited(edit, make, 16)
    assert torch.equal(after.target, before.target)
    assert torch.equal(after.touched, before.touched)
    assert after.target is before.target
    changed = [not torch.equal(getattr(after, name), getattr(before, name)) for name in ("x_t", "seen", "scored")]
    assert any(changed)


@pytest.mark.parametrize("edit, make", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_nothing_more_is_nothing_changed(edit, make):
    before, after = edited(edit, make, 16)
    for name in ("x_t", "seen", "target", "touched"):
        assert torch.equal(getattr(after, name), getattr(before, name))
    assert torch.equal(after.scored.bool(), before.scored)


@every
def test_an_edited_sample_alone_equals_the_sample_in_a_batch(edit, make):
    batch, random, t = pictures(16), keys(16), torch.linspace(0.1, 1, 16)
    _, whole = edited(edit, make, 16, t=t, random=random, batch=batch)
    for i in (0, 7, 15):
        one = Batch(batch.x[i : i + 1], batch.key[i : i + 1])
        _, alone = edited(edit, make, 1, t=t[i : i + 1], random=Keyed(random.key[i : i + 1]), batch=one)
        for name in ("x_t", "seen", "scored"):
            assert torch.equal(getattr(alone, name)[0], getattr(whole, name)[i])


@every
def test_float32_stays_float32(edit, make):
    batch = Batch(pictures(4).x.float(), torch.arange(4))
    _, after = edited(edit, make, 4, t=torch.full((4,), 0.5), batch=batch)
    assert {after.x_t.dtype, after.seen.dtype} == {torch.float32}


@pytest.mark.parametrize("schedule", [Cosine(), Linear(), LinearBeta(), Constant(0.2)], ids=str)
def test_what_is_seen_has_more_noise_and_the_state_has_not(schedule):
    n, gamma = 1000, 0.3
    c, after = edited(InputPerturbation(gamma), GaussianNoise, n, schedule, full(n, 0.7))
    assert torch.equal(after.x_t, c.x_t)
    more, sigma = after.seen - c.x_t, schedule.sigma(full(1, 0.7))
    variance = (gamma * sigma) ** 2
    assert abs(more.mean()) < 5 * gamma * sigma / more.numel() ** 0.5
    assert abs(more.var() - variance) < 5 * variance * (2 / more.numel()) ** 0.5
    own = c.x_t - schedule.alpha(full(1, 0.7)) * c.target
    assert abs((more * own).mean()) < 5 * gamma * sigma**2 / more.numel() ** 0.5  # of its own


def test_offset_noise_is_one_number_a_channel_in_state_and_seen():
    n, strength = 4000, 0.3
    c, after = edited(OffsetNoise(strength), GaussianNoise, n, t=full(n, 0.7))
    more = after.x_t - c.x_t
    assert torch.equal(after.seen, after.x_t)
    torch.testing.assert_close(more, more[..., :1, :1].expand_as(more), rtol=0, atol=1e-14)
    level, variance = more[..., 0, 0], (strength * Cosine().sigma(full(1, 0.7))) ** 2
    assert abs(level.var() - variance) < 5 * variance * (2 / level.numel()) ** 0.5
    assert abs((level[:, 0] * level[:, 1]).mean()) < 5 * variance / n**0.5


def test_a_mismatch_is_that_much_more_of_the_noise():
    c, after = edited(NoiseMismatch(1.3), GaussianNoise, 16)
    t = torch.linspace(0.1, 1, 16, dtype=torch.float64)
    signal = Cosine().at(t, c.x_t)[0] * c.target
    torch.testing.assert_close(after.x_t - signal, 1.3 * (c.x_t - signal))
    assert torch.equal(after.seen, after.x_t)


def test_noises_add_up():
    """A perturbed network sees the offset that the state has, in whichever order edits stand."""
    batch, random, t = pictures(8), keys(8), full(8, 0.7)
    c = GaussianNoise(Cosine())(batch, t, random)
    both = [("a", OffsetNoise(0.3)), ("b", InputPerturbation(0.3))]
    found = []
    for order in (both, both[::-1]):
        one = c
        for name, edit in order:
            one = edit(one, batch, t, random.child(name), Cosine())
        found.append(one)
    for name in ("x_t", "seen"):
        torch.testing.assert_close(getattr(found[0], name), getattr(found[1], name), rtol=0, atol=1e-14)


def test_emphasis_weighs_and_respects_what_is_not_scored():
    batch = pictures(16)
    c = SaltAndPepper(Linear())(batch, full(16, 0.4), keys(16))
    c = c._replace(scored=torch.arange(16)[:, None, None, None].expand_as(batch.x) % 2 == 0)
    scored = Emphasis(2.0, 0.5)(c, batch, full(16, 0.4), keys(16), Linear()).scored
    assert not scored[1::2].any()
    assert torch.equal(scored[::2], torch.where(c.touched, 2.0, 0.5)[::2])


@pytest.mark.parametrize("name", NOISES)
def test_noise_that_is_not_additive_is_refused(name):
    edit = NOISES[name][0]
    edit.accepts(GaussianNoise(Cosine()).accepts(IMAGE))
    for other in (SaltAndPepper(Linear()), Degradation(Linear(), Blur([])), GaussianNoise(Constant(0.0))):
        with pytest.raises(Refused, match="needs Additive") as e:
            edit.accepts(other.accepts(IMAGE))
        assert f"edits=[{name}]" in e.value.fix


def test_emphasis_needs_places_that_are_hit_and_others():
    for corruption in (SaltAndPepper(Linear()), Degradation(Linear(), BlockMask()), Degradation(Linear(), Snow())):
        Emphasis().accepts(corruption.accepts(IMAGE))
    for corruption in (GaussianNoise(Cosine()), Degradation(Linear(), Blur([]))):
        with pytest.raises(Refused, match="needs Local"):
            Emphasis().accepts(corruption.accepts(IMAGE))


def test_offset_noise_is_for_pictures():
    with pytest.raises(Refused, match="is for image"):
        OffsetNoise().accepts(GaussianNoise(Cosine()).accepts(Spec("points", (2,))))


@pytest.mark.parametrize(
    "make", [lambda: InputPerturbation(-0.1), lambda: OffsetNoise(-1.0), lambda: NoiseMismatch(-1.0),
             lambda: Emphasis(-1.0), lambda: Emphasis(0.0, 0.0), lambda: Withhold(1.0)],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(make):
    with pytest.raises(Refused):
        make()


def test_several_are_chosen_and_changed_by_name(tmp_path):
    words = ["edits=[input_perturbation,offset_noise]", "edits.input_perturbation.gamma=0.2"]
    [folder] = train(
        tmp_path, "trainer.max_steps=2", "trainer.val_check_interval=2", *words, without="trainer.max_steps"
    )
    [other] = train(
        tmp_path, "trainer.max_steps=2", "trainer.val_check_interval=2", words[0], without="trainer.max_steps"
    )
    assert folder != other  # of another identity


@pytest.mark.parametrize(
    "words, said",
    [
        (["edits=[input_perturbation]", "edits.input_perturbation.gama=0.2"], "gamma"),
        (["edits=[input_perturbatio]"], "input_perturbation"),
        (["edits=[input_perturbation]", "edits.offset_noise.strength=0.2"], "offset_noise"),
        (["edits=[input_perturbation]", "edits.input_perturbation.gamma=-1"], "gamma"),
        (["edits=[emphasis]"], "Local"),
    ],
)
def test_mistakes_are_refused_with_the_right_name(words, said, capsys, tmp_path):
    assert run(["train", "logger=none", f"outputs={tmp_path}", *words]) == 2
    assert said in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
