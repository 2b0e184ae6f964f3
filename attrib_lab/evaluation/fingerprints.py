"""Fingerprints: what the figures of a run depend on, so that two runs that differ in it are never mixed."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import modeling_attrib

from .classifiers import EvaluatedClassifier
from .explainers import Explainer
from .texts import EncodedText


OPTIONS = ("perturbation", "unit", "seed", "batch_size", "budget", "limit", "max_length", "special_tokens")
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn", "captum")
HUB_CODE, LAB = Path(modeling_attrib.__file__).parent, Path(__file__).parents[1]
# Of this room what keeps figures, tells them, or measures for `evaluate` alone, and not in a run.
TELLING = (
    "evaluate_modules.py", "evaluation_pictures.py", "evaluation_report.py", "examples.py", "journal.py", "results.py",
    "statistics.py",
)  # fmt: skip
LOADING = ("models/attention_only.py", "models/model_folder.py")  # what loads a model, and what computes one kind of it


def settings_of(
    classifier: EvaluatedClassifier,
    texts: Sequence[EncodedText],
    explainers: Sequence[Explainer],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that a figure depends on; the options first, since they say more than a hash."""
    data = hashlib.sha256()
    for text in texts:
        data.update(
            repr((text.key, text.ids, text.special, text.words, text.types, text.label, text.rationale)).encode()
        )
    return (
        {f"--{name.replace('_', '-')}": options[name] for name in OPTIONS}
        | {
            "model": classifier.fingerprint(),
            "data": data.hexdigest()[:16],
            "version of the code": code_fingerprint(),
            "version of the libraries": ", ".join(_versions(*LIBRARIES)),
        }
        | {f"plug-in {explainer.name}": explainer.fingerprint for explainer in explainers if explainer.fingerprint}
    )


def code_fingerprint(hub_code: Path = HUB_CODE, lab: Path = LAB) -> str:
    """A hash of the code that a figure depends on: what loads a model, explains and measures.

    How figures are kept and shown is no part of it, nor how data is read: the texts are hashed themselves.

    Args:
        hub_code, lab: folders of the two packages.
    """
    measuring = (file for file in lab.glob("evaluation/*.py") if file.name not in TELLING)
    digest = hashlib.sha256()
    for file in (*sorted(hub_code.glob("*.py")), *sorted(measuring), *(lab / name for name in LOADING)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _versions(*packages: str) -> Iterator[str]:
    for package in packages:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
