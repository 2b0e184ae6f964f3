"""From a finished classifier to a model folder that explains itself, with the same logits."""

from pathlib import Path

import torch

from ..storage.folders import locked, replacing
from ..storage.manifests import MODEL
from ..terminal.errors import UserError
from .any_classifier import OpenClassifier, open_classifier
from .model_folder import load_trained_model, write_metrics


_TEXTS = ["A film of great charm.", "Parliament passed the budget after a long debate; oil fell, and stocks rallied."]


def convert(classifier: str, output: Path, labels: tuple[str, ...] = (), overwrite: bool = False) -> OpenClassifier:
    """Write a classifier's folder: weights, code, tokenizer. Read again, it has the original's logits, or none is left.

    Args:
        classifier: folder or Hub id; see `open_classifier`.
        output: the folder; an earlier model there stays unless `overwrite`, and the user's own files always.

    Raises:
        UserError: as `open_classifier`; for a folder that holds something else; for logits that differ.
    """
    with locked(output, MODEL):
        if not overwrite and output.is_dir() and any(output.iterdir()):
            raise UserError(f"{output} is not empty: choose another folder, or add --overwrite.")
        opened = open_classifier(classifier, labels)
        if opened.converted is None:
            raise UserError(f"{classifier} explains itself already: there is nothing to convert.")
        with replacing(output, MODEL) as new:
            opened.model.save_pretrained(new)
            opened.tokenizer.save_pretrained(new)
            if not Path(classifier).exists():  # a Hub id, which the model card links
                write_metrics(new, {"settings": {"backbone": classifier}})
            _check_logits(opened, new)
    return opened


def _check_logits(opened: OpenClassifier, folder: Path) -> None:
    written, original = load_trained_model(folder).model, opened.model.original
    for text in _TEXTS:
        inputs = dict(opened.tokenizer(text, return_tensors="pt"))
        inputs = {name: value for name, value in inputs.items() if name in opened.model.backbone_arguments}
        with torch.no_grad():
            expected = original(**inputs).logits
            if not torch.equal(written(**inputs, output_attributions=False).logits, expected):
                raise UserError("what was written has other logits than the classifier: nothing is kept.")
