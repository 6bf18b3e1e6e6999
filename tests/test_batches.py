"""Batches: every sample once an epoch, the same whatever ranks, accumulation and interruptions there are."""

import itertools

import pytest
import torch

from denoiselab.data.base import Identity, Loaded, Table, checked, floating
from denoiselab.data.batches import Batches, Once, Share
from denoiselab.spec import Refused, Spec

N = 23
TABLE = Table(torch.arange(N * 2).view(N, 2), {"label": torch.arange(N)})
SPLITS = [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3)]  # accumulate, ranks
splits = pytest.mark.parametrize("accumulate, ranks", SPLITS, ids=[f"{a}x{r}" for a, r in SPLITS])


def first(batches, n):
    return list(itertools.islice(batches, n))


def rows(share):
    """What a share holds, a line a sample, by its place."""
    x, label = share.batch.x[:, 0] // 2, share.batch.context["label"]
    assert torch.equal(x, label)  # the context goes with its sample
    return list(zip(share.place.tolist(), x.tolist(), share.batch.key.tolist(), strict=True))


def dealt(batch_size, accumulate, ranks, n, seed=0, **more):
    """The first n global batches, gathered from all ranks and micro-batches."""
    each = [first(Batches(TABLE, batch_size, seed, accumulate=accumulate, rank=r, ranks=ranks, **more), n * accumulate)
            for r in range(ranks)]  # fmt: skip
    found = []
    for k in range(n):
        shares = [share for rank in each for share in rank[k * accumulate : (k + 1) * accumulate]]
        assert len({share.n for share in shares}) == 1
        found.append(sorted(row for share in shares for row in rows(share)))
        assert [place for place, _, _ in found[-1]] == list(range(shares[0].n))
    return found


@pytest.mark.parametrize("batch_size", [1, 4, 22, 23, 24, 100])
def test_an_epoch_has_every_sample_once(batch_size):
    batches = Batches(TABLE, batch_size, 0)
    for _ in range(2):
        shares = first(batches, batches.per_epoch)
        assert sorted(sample for share in shares for _, sample, _ in rows(share)) == list(range(N))
        assert all(share.n == len(share.batch.x) == min(batch_size, N) for share in shares[:-1])


def test_epochs_seeds_and_samples_have_orders_and_keys_of_their_own():
    batches = Batches(TABLE, N, 0)
    one, two = first(batches, 2)
    [other] = first(Batches(TABLE, N, 1), 1)
    samples = [tuple(s for _, s, _ in rows(share)) for share in (one, two, other)]
    assert len({*samples, tuple(range(N))}) == 4
    keys = torch.cat([share.batch.key for share in (one, two, other)])
    assert len(keys.unique()) == 3 * N


def test_the_key_of_a_sample_does_not_depend_on_its_batch():
    of = [
        {s: k for share in first(Batches(TABLE, size, 5), -(-N // size)) for _, s, k in rows(share)} for size in (4, 9)
    ]
    assert of[0] == of[1]


@splits
def test_ranks_and_micro_batches_make_up_the_same_global_batches(accumulate, ranks):
    assert dealt(8, accumulate, ranks, 9) == dealt(8, 1, 1, 9)


@splits
def test_every_share_has_samples_and_they_are_dealt_evenly(accumulate, ranks):
    for r in range(ranks):
        for share in first(Batches(TABLE, 8, 0, accumulate=accumulate, rank=r, ranks=ranks), 9 * accumulate):
            assert share.n // (accumulate * ranks) <= len(share.place) <= -(-share.n // (accumulate * ranks))
            assert len(share.place) > 0


@pytest.mark.parametrize("done", [0, 1, 3, 4, 11])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_follows_is_a_function_of_the_position(done, accumulate):
    whole = first(Batches(TABLE, 7, 0, accumulate=accumulate), (done + 5) * accumulate)
    rest = first(Batches(TABLE, 7, 0, lambda: done, accumulate=accumulate), 5 * accumulate)
    assert [rows(s) for s in rest] == [rows(s) for s in whole[done * accumulate :]]


def test_the_position_is_asked_when_iteration_starts():
    done = [0]
    batches = Batches(TABLE, 7, 0, lambda: done[0])
    whole = first(batches, 4)
    done[0] = 2
    assert rows(first(batches, 1)[0]) == rows(whole[2])


def test_iterating_twice_is_the_same_and_draws_nothing_from_the_global_generator():
    batches, state = Batches(TABLE, 7, 0), torch.get_rng_state()
    assert [rows(s) for s in first(batches, 9)] == [rows(s) for s in first(batches, 9)]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(num_workers):
    alone, state = first(Batches(TABLE, 7, 0, lambda: 3, accumulate=2), 9), torch.get_rng_state()
    shared = first(Batches(TABLE, 7, 0, lambda: 3, accumulate=2, num_workers=num_workers), 9)
    assert [rows(s) for s in shared] == [rows(s) for s in alone]
    assert torch.equal(torch.get_rng_state(), state)


LINES = Table(
    torch.arange(N)[:, None].expand(N, 6),
    {"valid": torch.arange(6) < (torch.arange(N) * 5 % 6 + 1)[:, None], "label": torch.arange(N)},
)


@splits
def test_trimmed_batches_are_the_same_and_nothing_but_padding_is_gone(accumulate, ranks):
    def found(trim):
        batches = {}
        for r in range(ranks):
            shares = Batches(LINES, 8, 0, accumulate=accumulate, rank=r, ranks=ranks, trim=trim)
            for i, (x, place) in enumerate((share.batch, share.place) for share in first(shares, 6 * accumulate)):
                valid, own = x.context["valid"], batches.setdefault(i // accumulate, {})
                assert valid.shape == x.x.shape
                assert not trim or valid.any(0).all()
                for j, p in enumerate(place.tolist()):
                    own[p] = (x.x[j][valid[j]].tolist(), x.context["label"][j].item(), x.key[j].item())
        return batches

    assert found(True) == found(False)


def test_of_trimmed_batches_the_shortest_come_first():
    shares = first(Batches(LINES, 12, 0, accumulate=3, trim=True), 3)
    sizes = [share.batch.context["valid"].sum(1) for share in shares]
    assert all(a.max() <= b.min() for a, b in itertools.pairwise(sizes))
    assert sizes[0].max() < sizes[-1].max()
    with pytest.raises(Refused, match="padding"):
        Batches(TABLE, 8, 0, trim=True)


def test_frozen_stays_in_epoch_0():
    once = first(Batches(TABLE, 7, 0), 4)
    assert [rows(s) for s in first(Batches(TABLE, 7, 0, frozen=True), 12)] == 3 * [rows(s) for s in once]


def test_no_length_so_that_lightning_takes_them_for_endless():
    with pytest.raises(TypeError):
        len(Batches(TABLE, 7, 0))


@pytest.mark.parametrize(
    "n, batch_size, accumulate, ranks", [(0, 4, 1, 1), (9, 8, 2, 1), (9, 8, 1, 2), (3, 8, 2, 2), (8, 3, 3, 1)]
)
def test_a_share_without_a_sample_is_refused(n, batch_size, accumulate, ranks):
    with pytest.raises(Refused):
        Batches(TABLE.take(slice(n)), batch_size, 0, accumulate=accumulate, ranks=ranks)


@pytest.mark.parametrize("batch_size", [1, 5, 23, 50])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_once_is_the_split_in_order_and_its_keys_are_places(batch_size, ranks):
    found = []
    for rank in range(ranks):
        split = Once(TABLE, batch_size, rank, ranks)
        shares = list(split)
        assert len(split) == len(shares) == -(-N // batch_size)
        assert all(share.n == N for share in shares)
        found += [row for share in shares for row in rows(share)]
    assert sorted(found) == [(i, i, i) for i in range(N)]


def test_taking_rows_takes_their_context():
    taken = TABLE.take(torch.tensor([3, 1]))
    assert taken.context["label"].tolist() == [3, 1]
    assert taken.x.tolist() == [[6, 7], [2, 3]]


@pytest.mark.parametrize(
    "batch_size, n, num_workers", [(0, None, 0), (-1, None, 0), (1, 0, 0), (1, -3, 0), (1, None, -1)]
)
def test_sizes_that_mean_nothing_are_refused(batch_size, n, num_workers):
    with pytest.raises(Refused):
        checked(batch_size, n, num_workers)


def test_pictures_become_floats_from_minus_one_to_one_and_come_back():
    bytes_ = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    x = floating(bytes_)
    assert (x.min(), x.max(), x.dtype) == (-1, 1, torch.float32)
    assert torch.equal(Identity().decode(x), bytes_)
    assert bytes_[0, 0, 0, 1] == 1  # not in place
    for other in (torch.arange(3), torch.rand(3, 2)):
        assert floating(other) is other


def test_a_share_is_what_a_rank_gets():
    assert Share._fields == ("batch", "place", "n")


def test_a_fingerprint_knows_content_and_nothing_else():
    def data(x, label, **more):
        table = Table(x, {"label": label})
        return Loaded(Spec("points", (2,)), table, table.take(slice(2)), table.take(slice(1)), Identity(), **more)

    x, label = TABLE.x.float(), TABLE.context["label"]
    same = data(x, label).fingerprint()
    assert data(x.clone(), label.clone(), notes=["a note"]).fingerprint() == same
    other = {data(x + 1, label).fingerprint(), data(x, label + 1).fingerprint(), data(x.double(), label).fingerprint(),
             data(x[1:], label[1:]).fingerprint(), data(x.view(-1, 1), label).fingerprint()}  # fmt: skip
    assert len(other - {same}) == 5
