"""Metrics of restored text as a person reads it, beside those of the damaged one."""

from torch import Tensor

from denoiselab.data.base import Codec
from denoiselab.evaluation.metrics.base import RESTORES, Metric, Value
from denoiselab.evaluation.spelling import error_rate
from denoiselab.sampler import Generates


def texts(codec: Codec, x: Tensor, valid: Tensor | None = None) -> list[str]:
    """Rows (N, L) as strings, without padding."""
    if valid is None:
        return codec.decode(x)
    return [codec.decode(row[there][None])[0] for row, there in zip(x, valid, strict=True)]


class TextErrors(Metric):
    """`exact_match`, the share of texts that are equal; `cer` and `wer`, edits of characters and of words by those of
    the clean text, over all texts; `chrf`, the F-score of character 6-grams and shorter, recall twice as important
    (Popovic, 2015), 0 to 1. Each also of the damaged text, NAME_corrupted: what is between is what was restored. A
    special token counts as a character. A CER may be above 1."""

    def accepts(self, spec):
        return spec.of(("tokens",), self).refuses(Generates, self, RESTORES)

    def __call__(self, evidence):
        codec = evidence.data.codec
        clean = texts(codec, evidence.clean, evidence.valid)
        read = evidence.x_t_valid
        if read is None and evidence.x_t.shape == evidence.clean.shape:
            read = evidence.valid
        there = evidence.restored_valid
        if there is None and evidence.restored.shape == evidence.clean.shape:
            there = evidence.valid
        found = {"": texts(codec, evidence.restored, there), "_corrupted": texts(codec, evidence.x_t, read)}
        return {f"{name}{of}": Value(value, len(clean), evidence.split)
                for of, said in found.items() for name, value in errors(said, clean).items()}  # fmt: skip


def errors(said: list[str], clean: list[str]) -> dict[str, float]:
    """exact_match, cer, wer and chrf of texts."""
    from torchmetrics.functional.text import chrf_score

    return {
        "exact_match": sum(a == b for a, b in zip(said, clean, strict=True)) / max(len(clean), 1),
        "cer": error_rate(said, clean),
        "wer": error_rate([text.split() for text in said], [text.split() for text in clean]),
        "chrf": float(chrf_score(said, [[text] for text in clean], n_word_order=0)),
    }
