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
# Code that only tells what was measured: a change of it leaves the figures of an earlier run as they were.
AFTERWARDS = ("costs.py", "evaluation_pictures.py", "evaluation_report.py", "journal.py", "results.py", "statistics.py")


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
            "version of the libraries": ", ".join(_versions("torch", "transformers", "numpy", "captum")),
        }
        | {f"plug-in {explainer.name}": explainer.fingerprint for explainer in explainers if explainer.fingerprint}
    )


def code_fingerprint() -> str:
    """A hash of the code that explains and measures; how figures are shown afterwards is no part of it."""
    digest = hashlib.sha256()
    folders = (Path(modeling_attrib.__file__).parent, Path(__file__).parent)
    for file in sorted(file for folder in folders for file in folder.glob("*.py")):
        if file.name not in AFTERWARDS:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _versions(*packages: str) -> Iterator[str]:
    for package in packages:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
