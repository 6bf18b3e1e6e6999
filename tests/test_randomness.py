"""Randomness: a row's draws are a function of its key alone, and are draws."""

import pytest
import torch

from denoiselab.randomness import GOLDEN, Keyed, Stream, below, key, mix_, mix_int, signed

N = 256
# What is drawn from a source, given rows and a row's length.
DRAWS = {
    "uniform": lambda r, b, n: r.uniform((b, n)),
    "normal": lambda r, b, n: r.normal((b, n)),
    "integers": lambda r, b, n: r.integers(1000, (b, n)),
    "words": lambda r, b, n: r.words((b, n)),
    "chance": lambda r, b, n: r.chance(torch.full((b, 1), 0.3), (b, n)),
}
SOURCES = {
    "keyed": lambda: Keyed.of(3, torch.arange(N)),
    "stream": lambda: Stream(torch.Generator().manual_seed(3)),
}
# The first words of splitmix64 from the seed 1234567, as published with the generator.
PUBLISHED = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]

draws = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
sources = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def test_words_are_splitmix64s():
    counters = [signed(1234567 + (i + 1) * GOLDEN) for i in range(5)]
    assert [mix_int(c) % 2**64 for c in counters] == PUBLISHED
    assert [w % 2**64 for w in mix_(torch.tensor(counters)).tolist()] == PUBLISHED


def test_a_key_of_integers_equals_that_of_tensors():
    many = torch.tensor([0, 1, -1, 2**62, 12345])
    by_tensor = key(7, 2, many, 9)
    assert by_tensor.tolist() == [key(7, 2, int(i), 9) for i in many]
    assert key(1, 2) != key(2, 1)


def test_keys_of_many_samples_are_distinct():
    keys = torch.cat([key(seed, epoch, torch.arange(20000)) for seed in range(3) for epoch in range(3)])
    assert keys.unique().numel() == keys.numel()


def test_every_bit_in_moves_every_bit_out():
    words = torch.arange(1, 2001)
    for bit in range(64):
        moved = mix_(words.clone()) ^ mix_(words ^ signed(1 << bit))
        shares = torch.stack([(moved >> i & 1).double().mean() for i in range(64)])
        assert shares.sub(0.5).abs().max() < 0.06  # 5 standard deviations of a coin thrown 2000 times


@draws
def test_a_row_alone_equals_the_row_in_a_batch(draw):
    r = SOURCES["keyed"]()
    assert torch.equal(draw(r, N, 300)[5:6], draw(Keyed(r.key[5:6]), 1, 300))
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(r, N, 300)[order], draw(Keyed(r.key[order]), N, 300))


@draws
@pytest.mark.parametrize("short", [1, 63, 64, 77, 128, 200])
def test_an_element_does_not_depend_on_the_rows_length(draw, short):
    r = SOURCES["keyed"]()
    assert torch.equal(draw(r, N, 300)[:, :short], draw(r, N, short))


@draws
@sources
def test_the_same_source_gives_the_same_draw(draw, source):
    assert torch.equal(draw(source(), N, 50), draw(source(), N, 50))


@draws
def test_shape_does_not_matter_to_a_row(draw):
    r = SOURCES["keyed"]()
    assert torch.equal(r.normal((N, 3, 4, 5)).flatten(1), r.normal((N, 60)))
    assert torch.equal(r.uniform((N, 3, 4, 5)).flatten(1), r.uniform((N, 60)))


@draws
@sources
def test_global_generator_is_left_alone(draw, source):
    before = torch.get_rng_state()
    draw(source().child("a"), N, 10)
    assert torch.equal(before, torch.get_rng_state())


def test_children_differ_from_each_other_and_repeat():
    r = SOURCES["keyed"]()
    family = [r, r.child("a"), r.child("b"), r.child(0), r.child(1), r.child("a").child("a"), r.child("a").child("b")]
    z = torch.stack([c.normal((N, 64)).flatten() for c in family])
    assert torch.corrcoef(z).fill_diagonal_(0).abs().max() < 5 / z.shape[1] ** 0.5
    assert torch.equal(r.child("a").child("b").normal((N, 64)).flatten(), z[-1])


@sources
def test_uniforms_are_uniform(source):
    u = source().uniform((N, 4000)).double().flatten()
    n = u.numel()
    assert u.min() >= 0
    assert u.max() < 1
    counts = torch.histc(u, 100, 0, 1)
    chi = ((counts - n / 100) ** 2 / (n / 100)).sum()
    assert abs(chi - 99) < 5 * (2 * 99) ** 0.5
    # Neighbors in a row, and in a column.
    grid = u.view(N, -1) - 0.5
    for product in (grid[:, 1:] * grid[:, :-1], grid[1:] * grid[:-1]):
        assert abs(product.mean()) < 5 / 12 / n**0.5


@sources
def test_normals_are_normal(source):
    z = source().normal((N, 4000)).double().flatten()
    n = z.numel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(z.pow(power).mean() - moment) < 5 * (variance / n) ** 0.5
    p = torch.special.ndtr(z).sort().values
    distance = (p - torch.arange(1, n + 1) / n).abs().max() * n**0.5
    assert distance < 2.2  # Kolmogorov and Smirnov's, one in ten thousand


def test_normals_have_no_infinities_at_the_ends_of_the_words():
    class Ends(Keyed):
        """Every word all zeros, or all ones."""

        def bits(self, n):
            return torch.tensor([[0], [-1]]).repeat(1, n)

    z = Ends(torch.zeros(2, dtype=torch.int64)).normal((2, 128))
    assert z.isfinite().all()
    assert z.abs().max() < 7


def test_cosines_and_sines_of_a_word_are_not_correlated():
    z = SOURCES["keyed"]().normal((N, 128 * 40)).view(N, -1, 2, 64).double()
    cosine, sine = z[:, :, 0].flatten(), z[:, :, 1].flatten()
    n = cosine.numel()
    assert abs((cosine * sine).mean()) < 5 / n**0.5
    assert abs((cosine**2 * sine**2).mean() - 1) < 5 * 8**0.5 / n**0.5


@pytest.mark.parametrize("high", [1, 2, 7, 1000, 2**24])
def test_integers_are_in_range_and_even(high):
    i = SOURCES["keyed"]().integers(high, (N, 1000))
    assert i.dtype == torch.int64
    assert i.min() >= 0
    assert i.max() < high
    if 1 < high <= 1000:
        counts = i.flatten().bincount(minlength=high).double()
        mean = i.numel() / high
        assert abs(((counts - mean) ** 2 / mean).sum() - (high - 1)) < 5 * (2 * (high - 1)) ** 0.5


@sources
def test_a_chance_is_that_of_its_row_and_0_and_1_are_certain(source):
    p = torch.tensor([0.0, 1e-3, 0.15, 0.5, 1.0], dtype=torch.float64)[:, None].repeat(N // 5 + 1, 1)[:N]
    hit = source().chance(p, (N, 4000))
    for share in p.unique():
        found = hit[p[:, 0] == share].double()
        assert abs(found.mean() - share) <= 5 * (share * (1 - share) / found.numel()) ** 0.5


def test_0_and_1_are_certain_of_every_word_and_others_count_words():
    words = torch.tensor([-(2**31), -1, 0, 1, 2**31 - 1], dtype=torch.int32)

    class Ends(Stream):
        def words(self, shape):
            return words.expand(shape).clone()

    chance = Ends(torch.Generator()).chance
    for p, hit in [(0.0, 0), (0.5, 2), (0.5 + 2**-31, 4), (1.0 - 2**-31, 4), (1.0, 5)]:
        assert chance(torch.tensor([[p]], dtype=torch.float64), (1, 5)).sum() == hit
    assert below(words[2:], 2**31 - 1).tolist() == [True, True, False]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a CUDA device with the CPU, and there is none")
def test_bits_and_uniforms_are_equal_on_every_device():
    here = SOURCES["keyed"]()
    there = Keyed(here.key.cuda(), here.salt)
    assert torch.equal(here.bits(50), there.bits(50).cpu())
    assert torch.equal(here.child("a").uniform((N, 50)), there.child("a").uniform((N, 50)).cpu())
    assert torch.allclose(here.normal((N, 50)), there.normal((N, 50)).cpu(), rtol=0, atol=1e-5)
