"""Metrics of text against closed forms, exact oracles and torchmetrics."""

import math
from types import SimpleNamespace

import pytest
import torch
from test_module import module
from torch import nn
from torchmetrics.functional.text import char_error_rate, word_error_rate

from denoiselab.architecture.transformer import Transformer
from denoiselab.corruption import Compared, Corrupted, TokenMask, TokenUniform, Written
from denoiselab.data.base import Loaded, Table
from denoiselab.data.markov import Markov, source, strings
from denoiselab.data.tokenizer import Character
from denoiselab.denoiser import Decodes, Denoiser, Logits, Subs
from denoiselab.evaluation.damaged import fits, reads
from denoiselab.evaluation.evaluate import Evaluation
from denoiselab.evaluation.metrics import (
    BitsPerCharacter,
    ClozeByDistance,
    CrossAttention,
    Distinct,
    EntropyGap,
    Evidence,
    LinearProbe,
    MemoryUse,
    Perplexity,
    SelfRepetition,
    SentenceOrder,
    TextErrors,
)  # fmt: skip
from denoiselab.evaluation.metrics.context import halves, pll
from denoiselab.evaluation.metrics.generated_text import entropy_gap, repetition
from denoiselab.evaluation.metrics.inside import changed, forced, zeroed
from denoiselab.evaluation.metrics.prediction import told, unigram, when
from denoiselab.evaluation.metrics.probe import bag, regression
from denoiselab.evaluation.shown import Curve, Heat
from denoiselab.evaluation.spelling import Speller, edits, error_rate, spelled_cer
from denoiselab.module import DenoisingModule, Parts
from denoiselab.objective import ELBO, CrossEntropy, Weighted
from denoiselab.optim import Constant
from denoiselab.posterior import Categorical
from denoiselab.randomness import Keyed
from denoiselab.sampler import Generates, OneShot
from denoiselab.schedule import Constant as Level
from denoiselab.schedule import Cosine, Linear
from denoiselab.spec import Refused, Spec, compose
from denoiselab.times import Stratified


def random_texts(seed, n=30):
    keyed = Keyed.of(seed, torch.arange(n))
    sizes = keyed.child("size").integers(12, (n, 1))[:, 0].tolist()
    return ["".join("ab c"[i] for i in row[: size + 1]) for row, size in
            zip(keyed.integers(4, (n, 12)).tolist(), sizes, strict=True)]  # fmt: skip


@pytest.fixture(scope="module")
def markov():
    return Markov(Character(), 12, 8, train=64, val=8, test=48).load()


def exact(data, denoiser=None):
    """A masked diffusion whose denoiser is the exact posterior of the source, or another."""
    corruption, plan, head, objective = TokenMask(Linear(), 27), Subs(), Logits(), Weighted(CrossEntropy(), ELBO())
    architecture = Transformer(8, 1, 1)
    spec = compose(data.spec, corruption, plan, head, architecture, Stratified(), objective)
    denoiser = denoiser or data.oracle(corruption)
    parts = Parts(spec, corruption, denoiser, Stratified(), objective, OneShot())
    return DenoisingModule(parts, torch.optim.SGD, Constant(), 0).eval()


def evidence(data, made=None, samples=None, **fields):
    x = data.test.x
    usual = {"clean": x, "x_t": x, "restored": x, "touched": torch.ones_like(x, dtype=torch.bool)}
    return Evidence(data, "test", **{**usual, **fields}, samples=samples, module=made, batch_size=16)


# -- restored text


def test_edits_are_those_of_torchmetrics():
    a, b = random_texts(0), random_texts(1)
    assert error_rate(a, b) == pytest.approx(char_error_rate(a, b).item(), abs=1e-6)
    words = [[text.split() for text in of] for of in (a, b)]
    assert error_rate(*words) == pytest.approx(word_error_rate(a, b).item(), abs=1e-6)
    assert edits("", "abc") == edits("abc", "") == 3
    assert edits("kitten", "sitting") == 3
    assert math.isnan(error_rate([""], [""]))


def test_errors_of_restored_text_stand_beside_those_of_the_damaged():
    codec = Character(" abcdefghijklmnopqrstuvwxyz").fit("")
    clean = torch.stack([codec.encode("the cat "), codec.encode("a dog   ")])
    valid = torch.tensor([[True] * 7 + [False], [True] * 5 + [False] * 3])
    x_t = clean.clone()
    x_t[0, 0] = codec.size  # a mask
    x_t[1, 7] = 3  # padding: nothing is said of it
    tables = [Table(clean, {"valid": valid})] * 3
    data = Loaded(Spec("tokens", (8,), codec.size), *tables, codec=codec)
    said = TextErrors()(Evidence(data, "test", clean, x_t, clean, valid, valid=valid))
    assert said["cer"].value == said["wer"].value == 0
    assert said["exact_match"].value == said["chrf"].value == 1
    assert said["cer_corrupted"].value == pytest.approx(1 / 12)
    assert said["wer_corrupted"].value == pytest.approx(1 / 4)
    assert said["exact_match_corrupted"].value == 0.5


def test_the_speller_takes_the_most_frequent_neighbor_and_leaves_what_it_knows():
    speller = Speller(["the the the then cat car car"])
    assert speller("teh cat, thf caq xyzzy 12") == "the cat, the car xyzzy 12"
    assert spelled_cer(["the cat"], ["the cat"], ["teh cat"]) == 0


# -- generated text


def test_repetition_is_the_share_of_grams_said_before():
    x = torch.tensor([[0, 1, 0, 1, 0], [0, 1, 2, 3, 4]])
    assert repetition(x, 2) == pytest.approx((0.5 + 0) / 2)
    data = SimpleNamespace()
    e = Evidence(data, "test", x, x, x, x > 0, samples=x)
    said = SelfRepetition(2)(e)
    assert said["seq_rep_2"].value == said["seq_rep_2_data"].value == 0.25
    shares = {name: value.value for name, value in Distinct(3)(e).items()}
    assert shares == {"distinct_1": 0.5, "distinct_2": 5 / 8, "distinct_3": 5 / 6}


def test_the_source_has_no_gap_to_itself_and_noise_has_what_it_costs(markov):
    n, length = 4000, 12
    x = source().sample(Keyed.of(3, torch.arange(n)), n, length)
    spread = source().log_prob(x).std().item() / length / math.sqrt(n)
    assert abs(entropy_gap(x)) < 4 * spread
    uniform = Keyed.of(4, torch.arange(n)).integers(27, (n, length))
    assert entropy_gap(uniform) > 1
    made = markov.codec.encode("".join(strings(x))).view(n, length)
    found = EntropyGap()(evidence(markov, samples=made))["entropy_gap"].value
    assert found == pytest.approx(entropy_gap(x), abs=1e-12)
    unknown = Loaded(markov.spec, markov.train, markov.val, markov.test, markov.codec)
    with pytest.raises(Refused, match="known source"):
        EntropyGap()(evidence(unknown, samples=made))


# -- told tokens


@pytest.mark.parametrize("rate", [0.15, 0.5, 0.99])
def test_the_time_of_a_rate(rate):
    for schedule in (Linear(), Cosine()):
        assert schedule.sigma(torch.tensor(when(schedule, rate), dtype=torch.float64)).item() == pytest.approx(rate)


def test_perplexity_rises_with_the_rate_to_that_of_single_tokens(markov):
    """Of the exact posterior: where all is hidden, cross-entropy is that of the stationary law."""
    made = exact(markov)
    said = Perplexity([0.15, 0.5, 1.0], n=48)(evidence(markov, made))
    a, b, c = (said[f"perplexity_{rate}"].value for rate in ("0.15", "0.5", "1"))
    assert a < b < c
    law = source().stationary.sum(0)
    nats = -law.log()[markov.test.x].mean().item()
    assert c == pytest.approx(math.exp(nats), rel=1e-6)
    assert said["masked_accuracy_1"].value == pytest.approx((markov.test.x == law.argmax()).double().mean().item())
    assert said["perplexity_1"].n == markov.test.x.numel()
    assert said["unigram_perplexity"].value == pytest.approx(c, rel=0.2)


def test_padding_is_not_asked(markov):
    valid = torch.arange(12) < torch.full((48, 1), 5)
    table = Table(markov.test.x, {"valid": valid})
    data = Loaded(markov.spec, markov.train, markov.val, table, markov.codec)
    said = told(evidence(data, exact(markov)), TokenMask(Level(1.0), 27), 1.0, 48)
    assert said.n == 5 * 48


def test_unigram_is_cross_entropy_under_training_counts():
    table = Table(torch.tensor([[0, 0, 1]]))
    data = Loaded(Spec("tokens", (3,), 2), table, table, table, codec=Character())
    said = {name: value.value for name, value in unigram(data, "test", 2).items()}
    assert said["unigram"] == pytest.approx(-(2 * math.log(3 / 5) + math.log(2 / 5)) / 3)
    assert said["unigram_accuracy"] == pytest.approx(2 / 3)


def test_the_bound_of_the_exact_posterior_is_the_entropy(markov):
    """Within what so few windows and one draw each say: their own -log p, and Monte Carlo error."""
    data = Markov(Character(), 12, 8, train=8, val=8, test=600).load()
    said = {name: value.value for name, value in BitsPerCharacter(600)(evidence(data, exact(data))).items()}
    assert said["nll_bound"] == pytest.approx(data.entropy, rel=0.05)
    assert said["bits_per_character"] == pytest.approx(said["nll_bound"] / math.log(2))
    assert said["perplexity_bound"] == pytest.approx(math.exp(said["nll_bound"]))


# -- probe


def test_a_probe_finds_what_features_say_and_no_more():
    labels = torch.arange(60) % 3
    told_labels = nn.functional.one_hot(labels, 3).double()
    assert regression(told_labels, told_labels, labels, labels) == 1
    assert regression(torch.zeros(60, 2).double(), torch.zeros(60, 2).double(), labels, labels) == pytest.approx(1 / 3)
    table = Table(torch.tensor([[0, 1, 1, 2]]), {"valid": torch.tensor([[True, True, True, False]])})
    assert bag(table, 3).tolist() == [[1 / 3, 2 / 3, 0]]


def test_the_probe_reads_a_network_and_refuses_one_that_shows_no_features():
    x = torch.arange(40)[:, None] % 2 * torch.ones(1, 12, dtype=torch.int64)
    table = Table(x, {"label": torch.arange(40) % 2})
    data = Loaded(Spec("tokens", (12,), 27, classes=2, context=frozenset({"label"})), table, table, table, Character())
    corruption, architecture = TokenMask(Linear(), 27), Transformer(8, 1, 1)
    spec = compose(data.spec, corruption, Subs(), Logits(), architecture)
    torch.manual_seed(0)
    network = architecture.build(spec)
    made = exact(data, Subs().build(network, corruption, Logits()))
    said = {name: value.value for name, value in LinearProbe()(evidence(data, made)).items()}
    assert said == {"probe_accuracy": 1, "probe_bag": 1, "probe_majority": 0.5}
    deep = network.features(x, torch.zeros(40))
    assert deep.shape == (40, 12, 8)
    torch.testing.assert_close(deep.mean(-1), torch.zeros(40, 12), rtol=0, atol=1e-5)  # behind the last norm
    with pytest.raises(Refused, match="features"):
        LinearProbe()(evidence(data, exact(data, nn.ModuleList([nn.Identity()]))))
    with pytest.raises(Refused, match="labels"):
        LinearProbe().accepts(spec._replace(classes=0))


# -- context


def test_pseudo_likelihood_of_the_oracle_is_that_of_bayes(markov):
    """Of two neighbors exchanged: log p(x_i | all others) by the source itself."""
    x, made = markov.test.x[0], exact(markov)
    each = []
    for i in range(12):
        others = x.repeat(27, 1)
        others[:, i] = torch.arange(27)
        each.append(source().log_prob(others).log_softmax(0)[x[i]].item())
    assert pll(evidence(markov, made), x, 12) == pytest.approx(sum(each), rel=1e-6)


def test_sentence_order_compares_two_orders(markov):
    sentence = (torch.arange(12) // 6).expand(48, 12)
    table = Table(markov.test.x, {"sentence": sentence})
    data = Loaded(markov.spec, markov.train, markov.val, table, markov.codec)
    said = SentenceOrder(6)(evidence(data, exact(markov)))["sentence_order"]
    right = []
    for row in markov.test.x[:6]:
        e, (a, b) = evidence(markov, exact(markov)), halves(row, sentence[0])
        right.append(pll(e, torch.cat((a, b)), 12) > pll(e, torch.cat((b, a)), 12))
    assert said.value == sum(right) / 6
    assert said.n == 6
    assert halves(row, torch.zeros(12)) is None


def test_a_cloze_of_the_oracle_falls_to_what_counting_gives(markov):
    said = ClozeByDistance([1, 2, 12], 48)(evidence(markov, exact(markov)))
    curve = said["cloze_by_distance"]
    assert isinstance(curve, Curve)
    near, _, far = curve.ys["accuracy"]
    assert near > far == said["cloze_12"].value
    with pytest.raises(Refused, match="rise"):
        ClozeByDistance([2, 1])


# -- memory


class Copies(Denoiser):
    """Sure of what its memory has at the place that is asked."""

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        return Categorical(self.encode(x_t, t)[0])

    def encode(self, x_t, t, **context):
        return (5.0 * nn.functional.one_hot(x_t, 4).float(), None, x_t > 9)

    def cache(self, memory, length):
        return None

    def decode(self, token, place, memory, cache):
        return Categorical(memory[0][:, place])


def test_a_memory_that_is_all_has_its_worth():
    x = torch.tensor([[0, 1], [2, 3]])
    c = Corrupted(x, x, x, x >= 0, torch.ones(2, 2), {"prefix": x})
    memory = Copies().encode(x, torch.zeros(2))
    sure = math.log(math.exp(5) + 3) - 5
    assert forced(Copies(), memory, c) == pytest.approx(4 * sure, rel=1e-5)
    assert forced(Copies(), changed(memory, zeroed), c) == pytest.approx(4 * math.log(4), rel=1e-5)
    assert forced(Copies(), changed(memory, lambda a: a.roll(1, 0)), c) == pytest.approx(4 * (sure + 5), rel=1e-5)
    kept = changed(memory, zeroed)
    assert kept[1] is None
    assert torch.equal(kept[2], memory[2])


def test_a_heat_map_is_a_picture_and_a_table(tmp_path):
    path = Heat([[0.25, 0.75], [1.0, 0.0]], ["a", "$"], ["[MASK]", "␣"]).save(tmp_path, "look")
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "look.csv").read_text(encoding="utf-8").splitlines()[1] == "a,0.25,0.75"


# -- who speaks, and the common damage


def test_metrics_speak_about_what_they_can_ask():
    text = Spec("tokens", (12,), 27)
    masked = TokenMask(Linear(), 27).accepts(text)
    uniform = TokenUniform(Linear(), 27).accepts(text)
    for metric in (Perplexity(), ClozeByDistance()):
        assert metric.accepts(masked) == masked
        for other in (uniform, masked.having(Written), Spec("image", (1, 8, 8))):
            with pytest.raises(Refused):
                metric.accepts(other)
    for metric in (MemoryUse(), CrossAttention()):
        with pytest.raises(Refused):
            metric.accepts(masked)
        assert metric.accepts(masked.having(Written, Decodes))
    for metric in (Distinct(), SelfRepetition(), EntropyGap()):
        with pytest.raises(Refused):
            metric.accepts(masked)
        assert metric.accepts(masked.having(Generates))
    with pytest.raises(Refused, match="sentence"):
        SentenceOrder().accepts(masked)
    with pytest.raises(Refused, match="bound"):
        BitsPerCharacter().accepts(masked)


def test_a_common_damage_scores_all_on_the_same_text(markov):
    made = exact(markov)
    found = [Evaluation([], samples=48, batch_size=size, damage=TokenMask(Level(0.3), 27))(made, markov).values
             for size in (48, 7)]  # fmt: skip
    one, other = ({k: v.value for k, v in values.items() if "common" in k} for values in found)
    assert one == pytest.approx(other)
    assert one["test/common/cer"] < one["test/common/cer_corrupted"]
    assert one["test/common/cer_corrupted"] == pytest.approx(0.3, abs=0.06)
    n = found[0]["test/common/masked_accuracy"].n
    assert one["test/common/cer"] <= (1 - one["test/common/masked_accuracy"]) * n / markov.test.x.numel() + 1e-9
    assert not any("common" in name for name in Evaluation([], samples=8)(made, markov).values)


def test_perplexity_at_rates_says_why_it_is_absent(markov):
    """It is asked of masks alone."""
    for cell, why in ((markov.spec.having(Written), "writes a text of its own"), (markov.spec, "never saw it"),
                      (markov.spec.having(Compared, specials=("[MASK]",)), "yes or no")):  # fmt: skip
        with pytest.raises(Refused, match="behind a mask") as refused:
            Perplexity().accepts(cell)
        assert why in refused.value.got
        assert "leave this metric out" in refused.value.fix
    assert Perplexity().accepts(markov.spec.having(specials=("[MASK]",)))


def test_a_damage_that_a_cell_cannot_read_is_left_out_in_words(markov):
    made = module("d3pm")
    table = Table(torch.zeros(4, 6, dtype=torch.int64))
    data = Loaded(Spec("tokens", (6,), 4), table, table, table, Character("abcd").fit(""))
    found = Evaluation([], samples=4, damage=TokenMask(Level(0.3), 4))(made, data)
    assert any("does not know" in why for why in found.left_out)
    fits(TokenUniform(Level(0.3), 27), markov.spec, exact(markov).parts.spec)
    spans = markov.spec.having(Written, written=5, specials=("[MASK]", "[END]", "[0]", "[1]", "[2]"))
    with pytest.raises(Refused, match="Compared"):
        fits(TokenUniform(Level(0.3), 27), markov.spec, markov.spec.having(Compared))
    for cell, what in ((spans, "what sentinels stand for"), (markov.spec._replace(shape=(2,)), "shorter")):
        with pytest.raises(Refused, match=what):
            reads(cell, markov.spec)
