"""Runs whose times learn from the losses: killed and resumed to the bit, alike over ranks and micro-batches, and not
where one batch is looked at again and again."""

import pytest
import torch
from runs import TINY, equal_runs, losses, train, weights
from test_module import PICTURES, asked, first, module
from test_training import Killed, killed_at, real_write

from denoiselab.commands.main import run
from denoiselab.data.batches import Batches
from denoiselab.module import lesson
from denoiselab.run.watch import Watch
from denoiselab.times import Importance

WORDS = ["times=importance", "times.bins=4", "times.history=3", "weight=unit", "data.n=44", "checkpoint.every=3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    [made] = train(tmp_path_factory.mktemp("whole"), *WORDS)
    return made


def learned(folder):
    state = weights(folder)["state_dict"]
    return state["times.seen"], state["times.losses"]


def test_what_was_learned_is_in_the_checkpoint(whole):
    seen, kept = learned(whole)
    assert seen.sum() == 2 * 44  # twelve steps of 8, of which the sixth has 4
    assert (seen >= 3).all()
    assert (kept > 0).all()
    times = Importance(4, 3)
    times.load_state_dict({"seen": seen, "losses": kept})
    assert (times.density() - 1).abs().max() > 0.1


@pytest.mark.parametrize("step, where", [(2, "train/loss"), (8, "val/loss"), (11, "train/loss")])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(step, where, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(Watch, "write", killed_at(step, where))
    with pytest.raises(Killed):
        run(["train", *TINY, *WORDS, f"outputs={tmp_path}"])
    monkeypatch.setattr(Watch, "write", real_write)
    [resumed] = train(tmp_path, *WORDS)
    equal_runs(resumed, whole)


def test_accumulation_changes_rounding_alone(whole, tmp_path):
    [parts] = train(tmp_path, *WORDS, "trainer.accumulate_grad_batches=2")
    (seen, kept), (want, losses_) = learned(parts), learned(whole)
    assert torch.equal(seen, want)
    torch.testing.assert_close(kept, losses_, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.tensor(losses(parts)), torch.tensor(losses(whole)), rtol=1e-5, atol=1e-5)


def test_the_lessons_of_shares_add_up_to_that_of_the_batch():
    """Ranks x micro-batches; each time and loss once, none reweighted."""
    made = module("diffusion")
    [batch] = first(Batches(PICTURES, 12, 0))
    with torch.no_grad():
        one = asked(made, batch)
        parts = [lesson(asked(made, share), share) for r in range(3)
                 for share in first(Batches(PICTURES, 12, 0, accumulate=2, rank=r, ranks=3), 2)]  # fmt: skip
    want = torch.stack((one.drawn, one.cost.flatten(1).mean(1)))
    assert torch.equal(lesson(one, batch), want)
    assert torch.equal(sum(parts)[0], want[0])
    torch.testing.assert_close(sum(parts)[1], want[1], rtol=1e-5, atol=1e-6)
    assert len(parts) == 6
    halved = one._replace(cost=one.cost / 2, importance=torch.full((12,), 0.5))
    torch.testing.assert_close(lesson(halved, batch), want)


def test_one_batch_at_the_same_times_teaches_nothing(tmp_path):
    [made] = train(tmp_path, *WORDS, "overfit=true")
    seen, _ = learned(made)
    assert seen.sum() == 0


def test_another_runs_weights_come_without_what_its_times_learned(whole, tmp_path):
    [other] = train(tmp_path / "to", f"init={whole}", "data.n=44", "trainer.max_steps=4")
    assert "times.seen" not in weights(other)["state_dict"]
    [back] = train(tmp_path / "back", *WORDS, f"init={other}")
    assert learned(back)[0].sum() == 2 * 44
