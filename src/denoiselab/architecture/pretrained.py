"""A caption read by a text encoder that was trained before and stays as it is (as in Imagen: Saharia et al., 2022,
arXiv:2205.11487): any that `transformers` loads from a folder with config.json, a tokenizer and *.safetensors.

The encoder is no part of the network: no checkpoint, average or optimizer has it. What the network keeps is the
encoder's mark, so that other weights in the same folder are refused when a checkpoint is loaded. No code of the folder
is run, and no pickle is read.
"""

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from denoiselab.architecture.conditioning import Conditional, Conditioning, Told
from denoiselab.spec import Refused

NEEDED = "FOLDER, as save_pretrained writes it: config.json, the tokenizer's files and *.safetensors"


class Pretrained(Conditioning):
    """The encoder in the folder `path`, frozen; what it says of each token is projected by a learned layer."""

    vector = sequence = True

    def __init__(self, path: str | None = None):
        self.path = path

    def accepts(self, spec):
        if importlib.util.find_spec("transformers") is None:
            fix = "pip install transformers, or use conditioning=text, which trains its own"
            raise Refused("Pretrained needs the library transformers", "it is not installed", fix)
        if not spec.spelled or "caption" not in spec.context:
            got = f"{spec.kind} without"
            raise Refused("Pretrained needs samples with captions of words", got, "use data with captions: data=shapes")
        if self.path is None:
            raise Refused("Pretrained needs an encoder in a local folder", "none", f"give conditioning.path={NEEDED}")
        if not (self.folder / "config.json").is_file():
            there = "no config.json" if self.folder.is_dir() else "no folder"
            raise Refused("there is no encoder at conditioning.path", f"{self.folder}: {there}", f"give {NEEDED}")
        return spec.having(Conditional, asks=spec.asks | {"caption", "caption_valid"})

    @property
    def folder(self) -> Path:
        return Path(self.path or "").expanduser()

    def build(self, spec, width):
        return Frozen(self.folder, spec.spelled, width)


def opened(folder: Path) -> tuple[nn.Module, object]:
    """The encoder in evaluation mode and its tokenizer."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = AutoModel.from_pretrained(folder, local_files_only=True, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as e:
        raise Refused(f"the encoder in {folder} cannot be read", str(e)[:300], f"give {NEEDED}") from e
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    if tokenizer.pad_token is None:
        raise Refused(f"the tokenizer in {folder} cannot pad", "no pad_token", "save it with one")
    return model.eval().requires_grad_(False), tokenizer


def mark(model: nn.Module) -> Tensor:
    """What weights a model has: 8 bytes of their SHA-256, as a tensor (8,) uint8."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy()))
    return torch.tensor(list(digest.digest()[:8]), dtype=torch.uint8)


class Frozen(nn.Module):
    """What is told: the mean of the tokens, which is also the first place of the sequence, and each token. Where the
    caption is withheld a learned null takes the place of the mean, and no token is looked at."""

    def __init__(self, folder: Path, words: tuple[str, ...], width: int):
        super().__init__()
        # In a tuple: a module within would be saved, averaged and moved with this one.
        self.encoder = opened(folder)
        self.words, self.folder = words, folder
        size = self.encoder[0].config.hidden_size
        self.null = nn.Parameter(0.02 * torch.randn(size))
        self.last = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width))
        self.register_buffer("mark", mark(self.encoder[0]))
        self.register_load_state_dict_pre_hook(self.compare)

    @staticmethod
    def compare(module, state, prefix, *_) -> None:
        saved = state.get(f"{prefix}mark")
        if saved is not None and not torch.equal(saved.cpu(), module.mark.cpu()):
            got, fix = "other weights than in training", "give back the encoder that the run was trained with"
            raise Refused(f"{module.folder} holds another encoder", got, fix)

    @torch.no_grad()
    def read(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Features (B, S, size) of texts, and which of them are tokens (B, S)."""
        model, tokenizer = self.encoder
        model.to(self.null.device)
        tokens = tokenizer(texts, return_tensors="pt", padding=True).to(self.null.device)
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        return model(input_ids=ids, attention_mask=mask).last_hidden_state.to(self.null.dtype), mask.bool()

    def forward(self, n: int, *, caption: Tensor | None = None, caption_valid: Tensor | None = None,
                told: Tensor | None = None, **_) -> Told:  # fmt: skip
        device = self.null.device
        if caption is None:
            first = self.last(self.null)[None].expand(n, -1)
            return Told(first, first[:, None], torch.ones(n, 1, dtype=torch.bool, device=device))
        told = torch.ones(n, dtype=torch.bool, device=device) if told is None else told
        valid = torch.ones_like(caption, dtype=torch.bool) if caption_valid is None else caption_valid
        # Tokenizers work on the CPU: a GPU waits here, once a step.
        texts = [" ".join(self.words[i] for i, there in zip(row, known, strict=True) if there)
                 for row, known in zip(caption.tolist(), valid.tolist(), strict=True)]  # fmt: skip
        features, mask = self.read(texts)
        mean = (features * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        first = torch.where(told[:, None], mean, self.null)
        sequence = self.last(torch.cat((first[:, None], features), 1))
        mask = torch.cat((torch.ones_like(told)[:, None], mask & told[:, None]), 1)
        return Told(sequence[:, 0], sequence, mask)
