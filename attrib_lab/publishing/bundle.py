"""Bundles: the exact files of a trained model that a Hub repository receives, and no others."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modeling_attrib
from modeling_attrib import AttribTextClassificationPipeline

from ..models.model_folder import TrainedModel
from ..terminal.errors import UserError, first_line
from .explanation_picture import UndrawableTextError, draw_explanation
from .model_card import EXAMPLE, PICTURE, model_card


CODE_FOLDER = Path(modeling_attrib.__file__).parent
MODEL_CARD = "README.md"

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


def assemble_bundle(
    trained: TrainedModel,
    folder: Path,
    repo_id: str,
    license_id: str | None = None,
    language: str | None = None,
    *,
    example: str = EXAMPLE,
) -> dict[str, int]:
    """Write the bundle: configuration, weights, tokenizer, the code byte for byte, a model card and its picture.

    Args:
        trained: what to publish.
        folder: an empty or new folder.
        repo_id: the repository that the model card speaks of.
        license_id, language: for the card, as the Hub spells them ("apache-2.0", "en").
        example: a text that the card explains and shows. Everybody will read it: no row of the data is taken unasked.

    Returns:
        The files and their sizes in bytes.

    Raises:
        UserError: if the configuration names a file of this machine, a file does not belong, or the model cannot
            explain the example.
    """
    trained.model.save_pretrained(folder)
    tokenizer_files = {Path(file).name for file in trained.tokenizer.save_pretrained(folder)}
    for name in ("config.json", "tokenizer_config.json"):
        _clean(folder / name)
    card = model_card(
        trained.model.config,
        repo_id,
        trained.metrics,
        trained.recipe,
        license_id,
        language,
        example=example,
        explained=_explained_picture(trained, example, folder / PICTURE),
    )
    (folder / MODEL_CARD).write_text(card, encoding="utf-8")
    for file in folder.iterdir():
        if not (file.name in tokenizer_files or _belongs(file)):
            raise UserError(f"{file.name} would be uploaded, but is no part of a model's repository.")
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir())}


def _explained_picture(trained: TrainedModel, example: str, file: Path) -> dict[str, Any] | None:
    """Explain the example and draw it; what was drawn, or None, said aloud, if it cannot be."""
    classify = AttribTextClassificationPipeline(model=trained.model, tokenizer=trained.tokenizer, device="cpu")
    try:
        explained = classify(example)[0]
    except (ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"the trained model cannot explain its decisions: {first_line(error)}") from None
    try:
        draw_explanation(example, explained, file)
    except UndrawableTextError as error:
        print(f"the model card has no picture: {error}.")
        return None
    return explained


def _belongs(file: Path) -> bool:
    if file.suffix == ".py":
        original = CODE_FOLDER / file.name
        return original.is_file() and original.read_bytes() == file.read_bytes()
    return file.is_file() and _BUNDLE_FILE.fullmatch(file.name) is not None


def _clean(file: Path) -> None:
    """Take out of a JSON file what is true on this machine only."""
    content = json.loads(file.read_text(encoding="utf-8"))
    cleaned = _without_local_keys(content)
    for key, value in _strings(cleaned):
        if _ABSOLUTE_PATH.match(value) or ("/" in value.strip("/") and os.path.exists(value)):
            raise UserError(f"{file.name} names a file or folder of this machine, which others lack: {key}={value!r}.")
    if cleaned != content:
        file.write_text(json.dumps(cleaned, indent=2) + "\n", encoding="utf-8")


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
