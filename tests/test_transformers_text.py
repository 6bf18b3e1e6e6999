"""Language models of the library transformers: built or read from a folder, they are the library's own functions, and
they write in steps what they say at once."""

import pytest
import torch
from common import Silence
from writing import TEXT, V, Whole

from denoiselab.architecture.transformers_text import TransformersEncoder, TransformersSeq2Seq
from denoiselab.corruption import TokenMask
from denoiselab.denoiser import Logits, NextToken, TokenLogits
from denoiselab.sampler import Autoregressive
from denoiselab.schedule import Constant, Linear
from denoiselab.spec import Refused, compose

transformers = pytest.importorskip("transformers", reason="the library is not here: pip install transformers")
S, T = 6, 7
SIZES = (16, 2, 2, 0.0)
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
BART = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}  # fmt: skip
WRITERS = {"t5": T5, "bart": BART}
ENCODERS = ("bert", "roberta", "electra")
IN_PLACE = compose(TEXT, TokenMask(Linear(), V), TokenLogits(), Logits())
ONE = IN_PLACE._replace(given=(S, 1))
WRITTEN = compose(TEXT, Whole(Constant(0.3)), NextToken(), Logits())


def shaken(network):
    torch.manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return network.eval()


def built(plan, spec):
    torch.manual_seed(0)
    return shaken(plan.build(plan.accepts(spec)))


def question(specials):
    source = torch.Generator().manual_seed(0)
    x, prefix = (torch.randint(V + specials, (4, n), generator=source) for n in (S, T))
    return x, torch.zeros(4), torch.arange(S) < torch.tensor([[6], [3], [1], [4]]), prefix


def theirs(kind, config, size, folder):
    """A model of the library, saved; the model and the folder."""
    auto = transformers.AutoModelForSeq2SeqLM if kind in WRITERS else transformers.AutoModelForMaskedLM
    made = transformers.AutoConfig.for_model(kind, vocab_size=size, pad_token_id=0, **config)
    torch.manual_seed(3)
    model = shaken(auto.from_config(made))
    model.save_pretrained(folder)
    return model, folder


@pytest.mark.parametrize("kind", WRITERS)
@torch.no_grad()
def test_a_writer_says_in_steps_what_it_says_at_once(kind):
    network, (x, noise, valid, prefix) = built(TransformersSeq2Seq(None, kind, *SIZES), WRITTEN), question(2)
    whole = network(x, noise, valid=valid, prefix=prefix, unheard_of=x)
    assert whole.shape == (4, T, V + 2)
    memory = network.encode(x, noise, valid=valid, unheard_of=x)
    cache = network.cache(memory, T)
    for i in range(T):
        step = network.step(prefix[:, i], i, memory, cache)
        torch.testing.assert_close(step, whole[:, i], rtol=1e-4, atol=1e-5)
    other = torch.where(valid, x, (x + 1) % V)
    torch.testing.assert_close(network(other, noise, valid=valid, prefix=prefix), whole, rtol=1e-5, atol=1e-5)
    later = prefix.clone()
    later[:, 4:] = (later[:, 4:] + 1) % V
    changed = network(x, noise, valid=valid, prefix=later)
    torch.testing.assert_close(changed[:, :4], whole[:, :4], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(changed[:, 4:], whole[:, 4:])


@pytest.mark.parametrize("kind", ENCODERS)
@torch.no_grad()
def test_an_encoder_answers_the_clean_tokens_and_sees_no_padding(kind):
    network, (x, noise, valid, _) = built(TransformersEncoder(None, kind, *SIZES), IN_PLACE), question(1)
    said = network(x, noise, valid=valid, unheard_of=x)
    assert said.shape == (4, S, V)
    other = torch.where(valid, x, (x + 1) % V)
    assert not torch.equal(other, x)
    torch.testing.assert_close(network(other, noise, valid=valid)[valid], said[valid], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(network(other, noise)[valid], said[valid])


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_that_is_asked_for_one_number_has_a_head_of_its_own(kind):
    network, (x, noise, valid, _) = built(TransformersEncoder(None, kind, *SIZES), ONE), question(1)
    said = network(x, noise, valid=valid, unheard_of=x)
    assert said.shape == (4, S, 1)
    said.sum().backward()
    assert all(p.grad is not None for p in network.head.parameters())
    assert network.model.get_input_embeddings().weight.grad[1 + V].abs().sum() > 0 or not (x == V).any()


@pytest.mark.parametrize("kind", [*WRITERS, "bert"])
def test_token_0_is_no_padding(kind):
    """Its embedding learns, as that of every token does."""
    if kind in WRITERS:
        network = built(TransformersSeq2Seq(None, kind, *SIZES), WRITTEN)
    else:
        network = built(TransformersEncoder(None, kind, *SIZES), IN_PLACE)
    x, noise, _, prefix = question(1)
    more = {"prefix": prefix} if kind in WRITERS else {}
    network(x, noise, **more).square().sum().backward()
    table = network.model.get_input_embeddings().weight
    assert table.shape == (1 + V + (2 if kind in WRITERS else 1), 16)
    assert table.grad[1 : 1 + V].abs().sum(1).all()


@pytest.mark.parametrize("kind", WRITERS)
@torch.no_grad()
def test_a_writer_that_is_read_is_the_one_that_was_saved(kind, tmp_path):
    model, folder = theirs(kind, WRITERS[kind], V, tmp_path)
    plan = TransformersSeq2Seq(str(folder))
    network = plan.build(plan.accepts(WRITTEN)).eval()
    x, noise, valid, prefix = question(0)
    expected = model(input_ids=x, attention_mask=valid.long(), decoder_input_ids=prefix).logits
    torch.testing.assert_close(network(x, noise, valid=valid, prefix=prefix)[..., :V], expected, rtol=1e-4, atol=1e-5)
    assert network.model.get_input_embeddings().num_embeddings == V + 2
    written = Autoregressive()(
        NextToken().build(network, Whole(Constant(0.3)), Logits()), Whole(Constant(0.3)), x, torch.ones(4), Silence(),
        valid=valid,
    )  # fmt: skip
    assert written.shape == (4, T)


@torch.no_grad()
def test_an_encoder_that_is_read_is_the_one_that_was_saved(tmp_path):
    model, folder = theirs("bert", BERT, V, tmp_path)
    plan = TransformersEncoder(str(folder))
    network, (x, noise, valid, _) = plan.build(plan.accepts(IN_PLACE)).eval(), question(0)
    expected = model(input_ids=x, attention_mask=valid.long()).logits
    torch.testing.assert_close(network(x, noise, valid=valid), expected, rtol=1e-4, atol=1e-5)
    assert network(torch.full_like(x, V), noise).isfinite().all()  # the mask has a row of its own


def test_rows_that_are_there_already_serve_special_tokens(tmp_path):
    """T5's table is longer than its tokenizer."""
    from tokenizers import Tokenizer, models

    _, folder = theirs("t5", T5, V + 5, tmp_path)
    with pytest.raises(Refused, match="its own ids, 12"):
        TransformersSeq2Seq(str(folder)).accepts(WRITTEN)
    Tokenizer(models.WordLevel({str(i): i for i in range(V)}, "0")).save(str(folder / "tokenizer.json"))
    plan = TransformersSeq2Seq(str(folder))
    assert plan.build(plan.accepts(WRITTEN)).model.get_input_embeddings().num_embeddings == V + 5


@torch.no_grad()
def test_special_tokens_begin_as_those_that_the_model_knows(tmp_path):
    """In a tokenizer that has the mask as token 5, the end as 1 and one sentinel, 3."""
    from tokenizers import Tokenizer, models

    names = ["a", "</s>", "b", "<extra_id_0>", "c", "<mask>", "d"]
    spec = WRITTEN._replace(specials=("[MASK]", "[END]", "[0]", "[1]"), written=4)
    for kind in WRITERS:
        model, folder = theirs(kind, WRITERS[kind], V, tmp_path / kind)
        Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "a")).save(str(folder / "tokenizer.json"))
        table = TransformersSeq2Seq(str(folder)).build(spec).model.get_input_embeddings().weight
        before = model.get_input_embeddings().weight
        assert torch.equal(table[:V], before[:V])
        assert torch.equal(table[V : V + 3], before[[5, 1, 3]])
        assert not (table[V + 3] == before).all(1).any()


def test_what_cannot_be_read_or_built_is_refused_in_words(tmp_path):
    bert, seq = TransformersEncoder, TransformersSeq2Seq
    _, saved = theirs("bert", BERT | {"max_position_embeddings": 4}, V, tmp_path / "bert")
    _, t5 = theirs("t5", T5, V, tmp_path / "t5")
    for make, spec, word in (
        (lambda: bert(), IN_PLACE, "path"),
        (lambda: bert("here", "bert"), IN_PLACE, "path alone"),
        (lambda: bert(str(tmp_path)), IN_PLACE, "no model"),
        (lambda: bert(str(saved)), IN_PLACE, "4 places"),
        (lambda: bert(str(t5)), IN_PLACE, "pretrained_seq2seq"),
        (lambda: bert(str(t5)), IN_PLACE._replace(vocabulary=3), "pretrained_seq2seq"),
        (lambda: seq(str(t5)), WRITTEN._replace(vocabulary=3), "codec=tokenizer_file"),
        (lambda: bert(None, "berd", *SIZES), IN_PLACE, "bert"),
        (lambda: bert(None, "bert", 16, 2, 3, 0.0), IN_PLACE, "heads"),
        (lambda: bert(None, "bert", 16, 2, 2, 1.0), IN_PLACE, "dropout"),
        (lambda: bert(None, "bert", 16), IN_PLACE, "heads=None"),
        (lambda: bert(None, "bert", *SIZES), WRITTEN, "encoder_decoder"),
        (lambda: seq(None, "t5", *SIZES), IN_PLACE, "architecture=transformer"),
        (lambda: seq(None, "bert", *SIZES), WRITTEN, "bart"),
    ):
        with pytest.raises(Refused) as caught:
            make().accepts(spec)
        assert word in str(caught.value), caught.value


def test_no_pickle_is_read(tmp_path):
    _, folder = theirs("bert", BERT, V, tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    plan = TransformersEncoder(str(folder))
    with pytest.raises(Refused, match="cannot be read"):
        plan.build(plan.accepts(IN_PLACE))
