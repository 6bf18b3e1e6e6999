"""Language models of the library `transformers`, as they are: built from a configuration, with new weights, or read
from a folder as `save_pretrained` writes it. No code of a folder is run, and no pickle is read.

A model that is built has one token more than the corruption knows, its padding, with id 0: ours follow. A model that is
read has the ids of its own tokenizer, which must be the codec, and behind them rows for the corruption's special
tokens, which begin as its own of the same meaning. Neither is told the time.
"""

import abc
import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from denoiselab.architecture.base import Architecture, Writer, leaving_out, whole, writing
from denoiselab.architecture.transformer import asks_tokens, numbers, shared
from denoiselab.spec import Refused, Spec, near

NEEDED = "FOLDER, as save_pretrained writes it: config.json and *.safetensors"
THEIRS = {"[MASK]": ("[MASK]", "<mask>"), "[END]": ("</s>", "[SEP]", "<|endoftext|>")}  # our names, and theirs
FAILS = (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, AttributeError)


class OfTransformers(Architecture):
    """A model of `model_type` with new weights, of `width`, `layers` (of each part), `heads` and `dropout`, its inner
    layers 4 times as wide; or the one in the folder `path`, with all of these null."""

    written: bool  # is it an encoder-decoder?
    sizes: Mapping[str, Callable[..., dict]]  # the library's names of sizes, by model_type

    def __init__(self, path: str | None = None, model_type: str | None = None, width: int | None = None,
                 layers: int | None = None, heads: int | None = None, dropout: float | None = None):  # fmt: skip
        sizes = {"width": width, "layers": layers, "heads": heads, "dropout": dropout}
        given = [value for value in (model_type, *sizes.values()) if value is not None]
        if given and (path is not None or len(given) < 5):
            raise Refused(
                f"{type(self).__name__} is made of a model_type and its sizes, or read from a path",
                f"path={path} model_type={model_type} {' '.join(f'{k}={v}' for k, v in sizes.items())}",
                "give all but the path; or architecture=pretrained_encoder or pretrained_seq2seq with a path alone",
            )  # fmt: skip
        if path is None and not given:
            raise Refused("which model?", "no architecture.path", f"give architecture.path={NEEDED}")
        if model_type is not None and model_type not in self.sizes:
            what = f"{type(self).__name__} makes models of a few types"
            raise Refused(what, f"architecture.model_type={model_type}", near(model_type, self.sizes))
        if width is not None:
            shared(width, layers, heads, self)
            leaving_out(dropout)
        self.path, self.model_type, self.wanted = path, model_type, sizes

    @property
    @abc.abstractmethod
    def auto(self) -> type:
        """The library's class of such models."""

    @abc.abstractmethod
    def fitting(self, spec: Spec) -> Spec: ...

    @abc.abstractmethod
    def network(self, model: nn.Module, spec: Spec, shift: int) -> nn.Module: ...

    def accepts(self, spec):
        spec = self.fitting(spec)
        if importlib.util.find_spec("transformers") is None:
            who = type(self).__name__
            raise Refused(f"{who} needs the library transformers", "it is not installed", "pip install transformers")
        if self.path is not None:
            self.judged(spec)
        return spec

    def judged(self, spec: Spec) -> None:
        """Refuses a model that does not fit."""
        known = described(self.folder)
        places, needed = known.get("max_position_embeddings"), longest(spec)
        if places is not None and places < needed:
            raise Refused(f"the model in {self.folder} knows {places} places", f"texts of {needed} tokens",
                          "use shorter texts: data.length")  # fmt: skip
        if bool(known.get("is_encoder_decoder")) is not self.written:
            other = "pretrained_encoder" if self.written else "pretrained_seq2seq"
            raise Refused(f"the model in {self.folder} is of the other kind", known.get("model_type"),
                          f"use architecture={other}")  # fmt: skip
        size = own_ids(self.folder, known)
        if spec.vocabulary != size:
            raise Refused(
                f"the model in {self.folder} has its own ids, {size} of them", f"{spec.vocabulary} of the data",
                f"use its tokenizer: codec=tokenizer_file codec.path={self.folder}/tokenizer.json",
            )  # fmt: skip

    @property
    def folder(self) -> Path:
        return Path(self.path or "").expanduser()

    def build(self, spec):
        if self.path is None:
            return self.network(self.made(spec), spec, 1)
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            model = self.auto.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except FAILS as e:
            raise Refused(f"the model in {self.folder} cannot be read", str(e)[:300], f"give {NEEDED}") from e
        size = spec.vocabulary + len(spec.specials)
        if model.get_input_embeddings().num_embeddings < size:
            model.resize_token_embeddings(size, mean_resizing=False)
        begun(model, spec, self.folder)
        return self.network(model, spec, 0)

    def made(self, spec: Spec) -> nn.Module:
        """With new weights."""
        from transformers import AutoConfig

        told = {"vocab_size": 1 + spec.vocabulary + len(spec.specials), "pad_token_id": 0}
        config = AutoConfig.for_model(
            self.model_type, **told, **self.sizes[self.model_type](**self.wanted, length=longest(spec))
        )
        return self.auto.from_config(config, attn_implementation="sdpa")


def longest(spec: Spec) -> int:
    return max(spec.shape + spec.target)


def described(folder: Path) -> dict:
    """What config.json says."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise Refused("there is no model at architecture.path", f"{folder}: {e}"[:200], f"give {NEEDED}") from e


def own_ids(folder: Path, known: dict) -> int:
    """How many ids a model's tokenizer has: of a folder without one, all that are embedded."""
    if not (folder / "tokenizer.json").is_file():
        return int(known.get("vocab_size", 0))
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    except Exception as e:  # the library raises this class alone
        raise Refused(f"{folder}/tokenizer.json is no tokenizer", str(e)[:200], f"give {NEEDED}") from e


@torch.no_grad()
def begun(model: nn.Module, spec: Spec, folder: Path) -> None:
    """Our special tokens begin as those that the model knows under its own names: mask, end and T5's sentinels."""
    if not (folder / "tokenizer.json").is_file():
        return
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tables = {id(t.weight): t.weight for t in (model.get_input_embeddings(), model.get_output_embeddings()) if t}
    for i, shown in enumerate(spec.specials, spec.vocabulary):
        for name in THEIRS.get(shown, (f"<extra_id_{shown[1:-1]}>",)):
            if (known := tokenizer.token_to_id(name)) is not None:
                for table in tables.values():
                    table[i] = table[known]
                break


def of_bert(width: int, layers: int, heads: int, dropout: float, length: int) -> dict:
    return {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": 4 * width, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout,
            "max_position_embeddings": length + 2}  # fmt: skip


def of_electra(width: int, **sizes) -> dict:
    return of_bert(width, **sizes) | {"embedding_size": width}


def of_t5(width: int, layers: int, heads: int, dropout: float, length: int) -> dict:
    return {"d_model": width, "d_kv": width // heads, "d_ff": 4 * width, "num_layers": layers, "num_heads": heads,
            "dropout_rate": dropout}  # fmt: skip


def of_bart(width: int, layers: int, heads: int, dropout: float, length: int) -> dict:
    both = {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * width}
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in both.items()}
    return {"d_model": width, "dropout": dropout, "attention_dropout": dropout, "max_position_embeddings": length,
            **sides}  # fmt: skip


class TransformersEncoder(OfTransformers):
    """A masked language model: BERT (Devlin et al., 2018, arXiv:1810.04805) and its kin."""

    written = False
    # RoBERTa counts places from 2.
    sizes: ClassVar = {"bert": of_bert, "roberta": of_bert, "electra": of_electra}

    @property
    def auto(self):
        from transformers import AutoModelForMaskedLM

        return AutoModelForMaskedLM

    def fitting(self, spec):
        return whole(spec.of(("tokens",), self), self)

    def network(self, model, spec, shift):
        return Masked(model, spec, shift) if asks_tokens(spec) else Told(model, spec, shift)


class TransformersSeq2Seq(OfTransformers):
    """A model that reads and writes: T5 (Raffel et al., 2020, arXiv:1910.10683), BART (Lewis et al., 2019,
    arXiv:1910.13461) and their kin."""

    written = True
    sizes: ClassVar = {"t5": of_t5, "bart": of_bart}

    @property
    def auto(self):
        from transformers import AutoModelForSeq2SeqLM

        return AutoModelForSeq2SeqLM

    def fitting(self, spec):
        return writing(spec, self)

    def network(self, model, spec, shift):
        return Writes(model, spec, shift)


class Masked(nn.Module):
    def __init__(self, model: nn.Module, spec: Spec, shift: int):
        super().__init__()
        self.model, self.shift, self.classes = model, shift, spec.vocabulary + spec.written

    def forward(self, x, noise, *, valid=None, **context):
        logits = self.model(input_ids=x + self.shift, attention_mask=mask(x, valid)).logits
        return logits[..., self.shift : self.shift + self.classes]


class Told(nn.Module):
    """A model without its answer, and a head of its own: for what is no token."""

    def __init__(self, model: nn.Module, spec: Spec, shift: int):
        super().__init__()
        self.model, self.shift = model.base_model, shift
        self.head = numbers(model.config.hidden_size, spec.given[-1])

    def forward(self, x, noise, *, valid=None, **context):
        read = self.model(input_ids=x + self.shift, attention_mask=mask(x, valid))
        return self.head(read.last_hidden_state)


class Writes(Writer):
    """In steps the decoder is asked anew for all places so far: the library's own caches are another in each of its
    versions. The encoder is asked once."""

    def __init__(self, model: nn.Module, spec: Spec, shift: int):
        super().__init__()
        self.model, self.shift, self.classes = model, shift, spec.vocabulary + spec.written

    def forward(self, x, noise, *, prefix, valid=None, **context):
        return self.said(self.encode(x, noise, valid=valid), prefix)

    def said(self, memory: tuple, prefix: Tensor) -> Tensor:
        read, seen = memory
        logits = self.model(
            encoder_outputs=read, attention_mask=seen, decoder_input_ids=prefix + self.shift, use_cache=False
        ).logits
        return logits[..., self.shift : self.shift + self.classes]

    def encode(self, x, noise, *, valid=None, **context):
        seen = mask(x, valid)
        return self.model.get_encoder()(input_ids=x + self.shift, attention_mask=seen), seen

    def cache(self, memory, length):
        seen = memory[1]
        return seen.new_zeros(len(seen), length)

    def step(self, token, place, memory, cache):
        cache[:, place] = token
        return self.said(memory, cache[:, : place + 1])[:, -1]


def mask(x: Tensor, valid: Tensor | None) -> Tensor:
    """Where a text is, as the library takes it; all of a row in which nothing is."""
    return torch.ones_like(x) if valid is None else (valid | ~valid.any(1, keepdim=True)).to(x.dtype)
