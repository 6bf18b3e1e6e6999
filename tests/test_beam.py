"""Beam search: of width 1 it is greedy, as wide as there are texts it is exact; a row is searched as if alone."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from common import Silence
from test_writer import PLANS, V, built, question
from writing import Whole

from denoiselab.architecture.base import Recomputed
from denoiselab.denoiser import Decodes, Logits, Writing
from denoiselab.posterior import Categorical
from denoiselab.sampler import Autoregressive, Beam
from denoiselab.schedule import Constant
from denoiselab.spec import Refused, Spec

TOKENS, END, LENGTH, ROWS = 3, 2, 4, 5
TINY = SimpleNamespace(longest=LENGTH, end=END)


class Table(Decodes):
    """Logits that are a function of the row and of all tokens before."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.table = 2 * torch.randn(ROWS, LENGTH, TOKENS**LENGTH, TOKENS, generator=g)

    def forward(self, x_t, t, **context):
        raise AssertionError("all places were asked at once")

    def encode(self, x_t, t, **context):
        return x_t[:, 0], {"t": t}

    def cache(self, memory, length):
        return torch.zeros(len(memory[0]), length, dtype=torch.int64)

    def decode(self, token, place, memory, cache):
        cache[:, place] = token
        code = (cache[:, 1 : place + 1] * TOKENS ** torch.arange(place)).sum(1)
        return Categorical(self.table[memory[0], place, code])


def log_p(denoiser, row, text):
    """Of a text up to its end, and its length."""
    memory, total = (torch.tensor([row]), {}), 0.0
    cache, token = denoiser.cache(memory, LENGTH), torch.tensor([END])
    for i, after in enumerate(text):
        total += denoiser.decode(token, i, memory, cache).log_probs[0, after].double().item()
        token = torch.tensor([after])
        if after == END:
            return total, i + 1
    return total, LENGTH


def texts():
    """Each text once, `end` at all places from the first one on."""
    for text in itertools.product(range(TOKENS), repeat=LENGTH):
        ended = text.index(END) if END in text else LENGTH
        if all(token == END for token in text[ended:]):
            yield text


def searched(sampler, denoiser, rows, corruption=TINY):
    return sampler(denoiser, corruption, rows[:, None], torch.ones(len(rows)), Silence())


@pytest.mark.parametrize("penalty", [-0.5, 0.0, 0.6, 1.0, 3.0])
def test_as_wide_as_there_are_texts_it_is_exact(penalty):
    denoiser = Table()
    found = searched(Beam(TOKENS**LENGTH, penalty), denoiser, torch.arange(ROWS))
    different = False
    for row in range(ROWS):
        scores = {text: (p := log_p(denoiser, row, text))[0] / ((5 + p[1]) / 6) ** penalty for text in texts()}
        assert tuple(found[row].tolist()) == max(scores, key=scores.get)
        different |= tuple(found[row].tolist()) != max(scores, key=lambda text: log_p(denoiser, row, text)[0])
    assert different or penalty <= 0.6


def test_the_greater_the_penalty_the_longer_the_text():
    penalties = (-9.0, -3.0, 0.0, 1.0, 3.0, 9.0)
    found = [searched(Beam(TOKENS**LENGTH, penalty), Table(), torch.arange(ROWS)) for penalty in penalties]
    lengths = torch.stack([(text != END).sum(1) for text in found])
    assert (lengths.diff(dim=0) >= 0).all()
    assert (lengths[-1] > lengths[0]).any()


def test_a_row_is_searched_as_if_alone():
    denoiser = Table()
    for width in (1, 2, 3):
        whole = searched(Beam(width), denoiser, torch.arange(ROWS))
        for row in range(ROWS):
            assert torch.equal(searched(Beam(width), denoiser, torch.tensor([row]))[0], whole[row])


def test_of_width_1_it_is_greedy():
    denoiser = Table()
    assert torch.equal(
        searched(Beam(1), denoiser, torch.arange(ROWS)), searched(Autoregressive(), denoiser, torch.arange(ROWS))
    )


@pytest.mark.parametrize("plan", PLANS)
def test_networks_are_searched_with_what_they_keep(plan):
    """Width 1 is greedy; what is kept of the tokens before follows its path, as when each is asked anew."""
    network, (x, _, valid, _) = built(plan), question()
    corruption = Whole(Constant(0.3))
    wrote = {}
    for name, writer in {"kept": network, "anew": Recomputed(network)}.items():
        denoiser = Writing(writer, corruption.schedule, Logits())
        wrote[name] = [sampler(denoiser, corruption, x, torch.full((4,), 0.5), Silence(), valid=valid)
                       for sampler in (Autoregressive(), Beam(1), Beam(3, 1.0))]  # fmt: skip
    greedy, one, three = wrote["kept"]
    assert torch.equal(greedy, one)
    assert torch.equal(three, wrote["anew"][2])
    assert three.shape == greedy.shape
    likely = [Writing(network, corruption.schedule, Logits())(
        x, torch.full((4,), 0.5), valid=valid, prefix=torch.nn.functional.pad(text, (1, -1), value=V + 1)
    ).log_prob(text) for text in (greedy, three)]  # fmt: skip
    before = [(text == V + 1).cumsum(1) - (text == V + 1).long() == 0 for text in (greedy, three)]
    scores = [(p * known).sum(1) / ((5 + known.sum(1)) / 6) for p, known in zip(likely, before, strict=True)]
    assert (scores[1] >= scores[0] - 1e-4).float().mean() > 0.7


def test_it_says_a_sign_of_life_and_refuses_what_it_cannot_do():
    beats = []
    tall = SimpleNamespace(longest=40, end=END)
    Beam(2)(Endless(), tall, torch.zeros(2, 1, dtype=torch.int64), torch.ones(2), Silence(), lambda: beats.append(1))
    assert len(beats) == 2
    for bad in ({"width": 0}, {"length_penalty": float("nan")}):
        with pytest.raises(Refused, match="sampler"):
            Beam(**bad)
    with pytest.raises(Refused, match="autoregressive"):
        Beam().accepts(Spec("tokens", (4,), TOKENS))


class Endless(Table):
    def decode(self, token, place, memory, cache):
        return Categorical(torch.tensor([1.0, 0.5, -torch.inf]).expand(len(token), -1))
