"""Bundles: the exact files of a trained model that a Hub repository receives, and no others."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeling_attrib import AttribTextClassificationPipeline
from modeling_attrib.backbone_parts import NO_LIMIT, token_limit

from ..models.model_folder import TrainedModel
from ..terminal.errors import UserError, first_line
from .card_facts import EXAMPLE, CardFacts
from .explanation_picture import UndrawableTextError, draw_explanation
from .inspection import CODE_FOLDER, MODEL_CARD, PICTURE, clean_local_keys, inspect_bundle
from .model_card import model_card


HANDLER = "handler.py"  # what Inference Endpoints run; no other file needs it


@dataclass(frozen=True)
class CardOptions:
    """What a model folder does not say of itself.

    Attributes:
        license_id, language: as the Hub spells them ("apache-2.0", "en").
        base_model: Hub id of what the model was converted from.
        example: a text that the card explains and shows. Everybody will read it: no row of the data is taken unasked.
    """

    license_id: str | None = None
    language: str | None = None
    base_model: str | None = None
    example: str = EXAMPLE


@dataclass(frozen=True)
class Bundle:
    """What was assembled: the files with their sizes in bytes, and the tag that the card's snippets pin."""

    files: dict[str, int]
    tag: str


def assemble_bundle(
    trained: TrainedModel,
    folder: Path,
    repo_id: str,
    options: CardOptions | None = None,
    *,
    tag: str | None = None,
    evaluation: dict[str, Any] | None = None,
) -> Bundle:
    """Write the bundle: configuration, weights, tokenizer, the code byte for byte, a model card and its picture.

    Args:
        trained: what to publish.
        folder: an empty or new folder.
        repo_id: the repository that the model card speaks of.
        options: for the card.
        tag: that its snippets pin; by default one made of the content.
        evaluation: what `read_evaluation` found, for the card.

    Raises:
        UserError: if the configuration names a file of this machine, a file does not belong, a file holds a secret or
            a pickle, or the model cannot explain the example.
    """
    options = options or CardOptions()
    trained.model.save_pretrained(folder)
    shutil.copy(CODE_FOLDER / HANDLER, folder)
    tokenizer_files = {Path(file).name for file in trained.tokenizer.save_pretrained(folder)}
    for name in ("config.json", "tokenizer_config.json"):
        clean_local_keys(folder / name)
    explained = _explained_picture(trained, options.example, folder / PICTURE)
    limit = token_limit(trained.model.config, trained.model.backbone, trained.tokenizer)
    facts = CardFacts(
        trained.model.config,
        repo_id,
        tag or content_tag(folder),
        sum(weight.numel() for weight in trained.model.parameters()),
        None if limit >= NO_LIMIT else limit,
        trained.metrics,
        trained.recipe,
        trained.explainer_recipe,
        evaluation or {},
        explained=explained,
        **vars(options),
    )
    (folder / MODEL_CARD).write_text(model_card(facts), encoding="utf-8")
    inspect_bundle(folder, tokenizer_files)
    return Bundle({file.name: file.stat().st_size for file in sorted(folder.iterdir())}, facts.revision)


def content_tag(folder: Path) -> str:
    """A name for a bundle's content, which its card can know before there is a commit.

    It is the start of the SHA-256 of what `sha256sum` prints for all files but the card, sorted by name.
    """
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.iterdir())
        if file.name != MODEL_CARD
    ]
    return f"sha256-{hashlib.sha256(''.join(lines).encode()).hexdigest()[:12]}"


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
