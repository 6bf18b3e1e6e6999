"""A tokenizer.json of the libraries `tokenizers` and `transformers`: opened, or refused with what is wrong with it."""

import json
from pathlib import Path

import tokenizers

from denoiselab.spec import Refused

GAPS = 8  # ids for one token at most: the network has a place for each


def opened(path: str | None) -> tokenizers.Tokenizer:
    """The tokenizer in a file; raises `Refused` where there is none."""
    fix = "give codec.path=FILE, a tokenizer.json as `tokenizers` or save_pretrained of `transformers` writes it"
    if path is None:
        raise Refused("codec=tokenizer_file reads a tokenizer from a file", "codec.path=null", fix)
    file = Path(path).expanduser()
    if not file.is_file():
        if (inside := file / "tokenizer.json").is_file():
            fix = f"give codec.path={inside}"
        raise Refused(f"codec.path says that a tokenizer lies at {file}",
                      "a folder is there" if file.is_dir() else "nothing is there", fix)  # fmt: skip
    try:
        text = file.read_bytes().decode("utf-8-sig")
        model = tokenizers.Tokenizer.from_str(text)
    except UnicodeDecodeError as error:
        raise Refused(f"{file} is no tokenizer file: it is no text", f"{error}"[:200], fix) from None
    except Exception as error:  # the library raises nothing more special
        raise Refused(f"{file} is no tokenizer file", strange(text, f"{error}"), fix) from None
    if not model.get_vocab_size():
        raise Refused(f"{file} is a tokenizer without a vocabulary", "0 tokens", fix)
    if (size := 1 + max(model.get_vocab().values())) > GAPS * model.get_vocab_size():
        raise Refused(f"{file} is a tokenizer with more ids than tokens", f"{model.get_vocab_size()} tokens, the last "
                      f"of them with the id {size - 1}", "number the tokens from 0 on")  # fmt: skip
    own = json.loads(text)["model"].get("unk_token")
    if own is not None and own not in model.get_vocab(with_added_tokens=False):
        raise Refused(f"{file} is a tokenizer that lacks its own unknown token", f"unk_token {own!r}, which is not in "
                      "its vocabulary", "add it there, or give another file")  # fmt: skip
    model.no_truncation()
    model.no_padding()
    return model


def strange(text: str, error: str) -> str:
    """What a file holds that is no tokenizer, in words."""
    try:
        found = json.loads(text)
    except ValueError as e:
        return f"no JSON: {e}"[:200]
    if not isinstance(found, dict):
        return f"JSON, but no object: {text.strip()[:60]}"
    if not isinstance(found.get("model"), dict):
        keys = ", ".join([*found][:8]) or "none"
        return f"a JSON object without a model in it; its keys are {keys}"[:200]
    return f"a model of type {found['model'].get('type')}: {error.splitlines()[0]}"[:200]
