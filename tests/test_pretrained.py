"""A frozen text encoder from a folder: read as its library reads it, never trained, saved or swapped in silence."""

import sys

import pytest
import torch
from runs import train
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from denoiselab.architecture.pretrained import Pretrained
from denoiselab.architecture.unet import UNet
from denoiselab.commands.main import run
from denoiselab.data.captions import LONGEST, WORDS, written
from denoiselab.spec import Refused, Spec

transformers = pytest.importorskip("transformers")
SPEC = Spec("image", (3, 8, 8), words=len(WORDS), caption=LONGEST, spelled=WORDS,
            context=frozenset({"caption", "caption_valid"}))  # fmt: skip
TEXTS = ["a five", "two red circles left of a blue seven", "a green square"]
KINDS = ("bert", "t5")


def save(folder, kind, seed=0):
    """A tiny encoder whose tokens are our words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokens = {word: i for i, word in enumerate((*special, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(tokens, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    if kind == "bert":
        config = transformers.BertConfig(
            vocab_size=len(tokens), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=16,
        )  # fmt: skip
        transformers.BertModel(config).save_pretrained(folder)
    else:
        config = transformers.T5Config(
            vocab_size=len(tokens), d_model=16, d_kv=8, num_layers=1, num_heads=2, d_ff=16, decoder_start_token_id=0
        )
        transformers.T5Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    return save(tmp_path / "encoder", request.param)


def built(folder, width=24, seed=0):
    plan = Pretrained(str(folder))
    agreed = plan.accepts(SPEC)
    assert agreed.asks == {"caption", "caption_valid"}
    torch.manual_seed(seed)
    return plan.build(agreed, width)


def test_features_are_those_of_the_library(folder):
    module = built(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    for text in TEXTS:
        tokens = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        with torch.no_grad():
            expected = model(**tokens).last_hidden_state
        told = module(1, **written([text]))
        torch.testing.assert_close(told.sequence[:, 1:], module.last(expected))
        torch.testing.assert_close(told.vector, module.last(expected.mean(1)))
        assert told.mask.all()


@torch.no_grad()
def test_a_caption_alone_is_told_as_in_a_batch(folder):
    module, captions = built(folder), written(TEXTS)
    together = module(3, **captions)
    assert together.vector.shape == (3, 24)
    for i in range(3):
        alone = module(1, **{name: value[i : i + 1] for name, value in captions.items()})
        torch.testing.assert_close(alone.vector[0], together.vector[i], rtol=1e-4, atol=1e-5)
        there = together.mask[i]
        torch.testing.assert_close(alone.sequence[0], together.sequence[i][there], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_is_withheld_is_not_told(folder):
    module = built(folder)
    told = torch.tensor([True, False, False])
    some = module(3, **written(TEXTS), told=told)
    other = module(3, **written([TEXTS[0], *reversed(TEXTS[1:])]), told=told)
    assert torch.equal(some.vector, other.vector)
    assert some.mask[1:, 0].all()
    assert not some.mask[1:, 1:].any()
    torch.testing.assert_close(module(3).vector[0], some.vector[1])
    assert not torch.allclose(some.vector[0], some.vector[1])


def test_the_encoder_neither_learns_nor_is_saved(folder):
    network = UNet(8, (1, 2), attention=(2,), conditioning=Pretrained(str(folder)))
    network = network.build(network.accepts(SPEC))
    assert not [name for name in network.state_dict() if "encoder" in name]
    [module] = [m for m in network.modules() if type(m).__name__ == "Frozen"]
    before = {name: value.clone() for name, value in module.encoder[0].state_dict().items()}
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):  # the last layer starts as nothing: what is behind it learns from the second step on
        optimizer.zero_grad()
        x = torch.linspace(-1, 1, 3 * 3 * 64).view(3, 3, 8, 8)
        context = {**written(TEXTS), "told": torch.tensor([True, True, False])}
        (network(x, torch.tensor([0.1, 0.5, 0.9]), **context) - x).square().mean().backward()
        optimizer.step()
    assert module.null.grad.any()
    assert all(p.grad.any() for p in module.last.parameters())
    assert not module.encoder[0].training
    assert all(torch.equal(before[name], value) for name, value in module.encoder[0].state_dict().items())


def test_another_encoder_in_its_place_is_refused(tmp_path):
    saved = built(save(tmp_path / "one", "bert")).state_dict()
    built(save(tmp_path / "same", "bert")).load_state_dict(saved)
    with pytest.raises(Refused, match="another encoder"):
        built(save(tmp_path / "other", "bert", seed=1)).load_state_dict(saved)


def test_what_is_no_encoder_is_refused_in_words(tmp_path, monkeypatch):
    good = save(tmp_path / "encoder", "bert")
    for path, spec, word in (
        (tmp_path / "nothing", SPEC, "no folder"),
        (tmp_path, SPEC, "no config.json"),
        (good, SPEC._replace(spelled=()), "captions of words"),
        (good, SPEC._replace(context=frozenset()), "captions of words"),
    ):
        with pytest.raises(Refused, match=word):
            Pretrained(str(path)).accepts(spec)
    weights = good / "model.safetensors"
    weights.unlink()
    torch.save({}, good / "pytorch_model.bin")
    with pytest.raises(Refused, match="cannot be read"):
        built(good)
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refused, match="not installed"):
        Pretrained(str(good)).accepts(SPEC)


def test_without_a_folder_it_is_refused_and_says_what_to_give():
    with pytest.raises(Refused, match=r"conditioning\.path=FOLDER"):
        Pretrained().accepts(SPEC)


def test_a_run_is_trained_and_sampled_with_its_own_encoder(folder, tmp_path):
    [made] = train(
        tmp_path / "runs", "data=shapes", "data.size=16", "data.train=32", "data.val=8", "data.test=8",
        "conditioning=pretrained", f"conditioning.path={folder}", "edits=[withhold]",
    )  # fmt: skip
    words = ["sample", f"run={made}", "n=2", "steps=2", "caption=a five", "guidance=2", f"output={tmp_path / 'out'}"]
    assert run(words) == 0
    save(folder, "bert", seed=7)
    assert run(words) == 2
