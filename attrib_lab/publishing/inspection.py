"""What may be in a bundle, looked at before anything is sent: named files, safetensors, our own code, no secret."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

import modeling_attrib

from ..recipes.keys import is_secret
from ..recipes.secrets import kind_of_secret
from ..terminal.errors import UserError


CODE_FOLDER = Path(modeling_attrib.__file__).parent
MODEL_CARD, PICTURE = "README.md", "explanation.png"

# Where the files came from and how they were fetched: true on this machine only.
_LOCAL_KEYS = {
    "_commit_hash",
    "_name_or_path",
    "cache_dir",
    "is_local",
    "local_files_only",
    "name_or_path",
    "special_tokens_map_file",
    "tokenizer_file",
}
_LABEL_MAPS = ("id2label", "label2id")  # the user's words, whatever they look like
_ABSOLUTE_PATH = re.compile(r"(~?/|[A-Za-z]:[\\/])[^/\\]+[/\\]")
_BUNDLE_FILE = re.compile(
    r"config\.json|README\.md|explanation\.png|\w+\.py|model[\w-]*\.safetensors(\.index\.json)?|tokenizer(_config)?\.json"
    r"|(special_tokens_map|added_tokens|vocab)\.json|(vocab|merges)\.txt|[\w.]+\.model|chat_template\.jinja"
)
_TOKENIZER_FILE = re.compile(r"[\w.-]+\.(json|txt|model|jinja|codes|bpe|tiktoken)")
_PNG = b"\x89PNG\r\n\x1a\n"
_PICKLED = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04")  # a pickle, and the archive that torch puts one into


def clean_local_keys(file: Path) -> None:
    """Take out of a JSON file what is true on this machine only.

    Raises:
        UserError: if it still names a file or folder of this machine, or a key that holds a secret.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    cleaned = _without_local_keys(content)
    for key, value in _strings(cleaned):
        if _ABSOLUTE_PATH.match(value) or ("/" in value.strip("/") and os.path.exists(value)):
            raise UserError(f"{file.name} names a file or folder of this machine, which others lack: {key}={value!r}.")
        if is_secret(key.rpartition(".")[2]):
            raise UserError(f"{file.name} holds a secret, which all would read: take {key} out of it.")
    if cleaned != content:
        file.write_text(json.dumps(cleaned, indent=2) + "\n", encoding="utf-8")


def inspect_bundle(folder: Path, tokenizer_files: set[str]) -> None:
    """Look at every file of a finished bundle.

    Args:
        tokenizer_files: names of what the tokenizer wrote; tokenizers have files of their own.

    Raises:
        UserError: for a file that is no part of a model's repository, code that is not this package's byte for byte,
            weights that are no safetensors, anything pickled, or a secret.
    """
    for file in sorted(folder.iterdir()):
        if not _belongs(file, file.name in tokenizer_files):
            raise UserError(f"{file.name} would be uploaded, but is no part of a model's repository.")
        if file.suffix == ".safetensors":
            text = _metadata_of_weights(file)
        elif file.suffix != ".py":
            text = _text_of(file)
        else:
            continue  # ours, byte for byte
        kind = kind_of_secret(text)
        if kind is not None:
            raise UserError(f"{file.name} holds {kind}, which all would read: take it out, and have it renewed.")


def _belongs(file: Path, is_of_tokenizer: bool) -> bool:
    if file.is_symlink() or not file.is_file():
        return False
    if file.suffix == ".py":
        original = CODE_FOLDER / file.name
        return original.is_file() and original.read_bytes() == file.read_bytes()
    return (_TOKENIZER_FILE if is_of_tokenizer else _BUNDLE_FILE).fullmatch(file.name) is not None


def _metadata_of_weights(file: Path) -> str:
    try:
        with safe_open(file, "pt") as weights:
            return json.dumps(weights.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        raise UserError(f"{file.name} is no file of safetensors.") from None


def _text_of(file: Path) -> str:
    """The text in a file; of a picture and of a SentencePiece model, which are none, what looks like text."""
    content = file.read_bytes()
    if _PICKLED.match(content):
        raise UserError(f"{file.name} is pickled, and opening it may run code: it is not published.")
    if file.suffix == ".model" or (file.suffix == ".png" and content.startswith(_PNG)):
        return content.decode("latin-1")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{file.name} is no text, as it should be: it is not published.") from None


def _without_local_keys(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_local_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: item if key in _LABEL_MAPS else _without_local_keys(item)
        for key, item in value.items()
        if key not in _LOCAL_KEYS
    }


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every (key, text) in a JSON value, labels apart."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _LABEL_MAPS:
                yield from _strings(item, f"{key}.{name}" if key else name)
