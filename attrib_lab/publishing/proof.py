"""Proof that a bundle answers exactly as the trained model does, where this package does not exist."""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from modeling_attrib import AttribForSequenceClassification, AttribTextClassificationPipeline

from ..terminal.errors import UserError, first_line
from . import fresh_process


# What the fresh process is not told: where this one finds the package, its caches, the user's token.
_WITHHELD = ("PYTHONPATH", "HF_", "HUGGING_FACE_", "HUGGINGFACE_", "TRANSFORMERS_")


@dataclass(frozen=True)
class Proof:
    """What was compared: ways of loading, texts, and how many values agreed (all, to the last bit)."""

    loaders: tuple[str, ...]
    texts: int
    values: int

    def __str__(self) -> str:
        return (
            f"a fresh process without this package loaded the bundle by {', '.join(self.loaders)}; "
            f"{self.values:,} values on {self.texts} texts, largest difference 0.0"
        )


def prove_bundle(bundle: Path, model: AttribForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> Proof:
    """Compare a bundle, loaded as its users load it, with the model that it was made from.

    Args:
        bundle: the folder that would be uploaded.
        model, tokenizer: what it was made from; on the CPU, as the bundle will be.

    Raises:
        UserError: if the bundle cannot be loaded or one value differs; or if the model itself cannot answer.
    """
    fresh_process.align_weights(model)
    expected = expected_answers(model.eval(), tokenizer)
    differences = list(_differences(expected, _answers_of_fresh_process(bundle)))
    where, largest = max(differences, key=lambda difference: difference[1])
    if largest:
        by = f"by {largest:.3g}" if math.isfinite(largest) else "in more than a number"
        raise UserError(
            f"the bundle does not answer as the trained model does, so nothing was uploaded: {where} differs {by}."
        )
    return Proof(tuple(expected), len(fresh_process.TEXTS), len(differences))


def expected_answers(
    model: AttribForSequenceClassification, tokenizer: PreTrainedTokenizerBase
) -> dict[str, fresh_process.Answers]:
    """What the model answers here, by way of loading: what any other process must answer to the last bit.

    Raises:
        UserError: if it cannot answer, or not in numbers.
    """
    try:
        classify = AttribTextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")
        direct = fresh_process.model_answers(model, tokenizer)
        answers = {"AutoModel": direct, "AutoModelForSequenceClassification": direct}
        answers["pipeline"] = fresh_process.pipeline_answers(classify, list(model.config.id2label.values()))
        answers["EndpointHandler"] = answers["pipeline"]
        # Like the other process's answers: JSON keeps numbers exactly. NaN, which equals nothing, is refused.
        return json.loads(json.dumps(answers, allow_nan=False))
    except (ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"the trained model cannot explain its decisions: {first_line(error)}") from None


def _answers_of_fresh_process(bundle: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bundle-check-") as scratch:
        program = Path(shutil.copy(fresh_process.__file__, scratch))
        answers_file = Path(scratch) / "answers.json"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}
        process = subprocess.run(
            [sys.executable, program, bundle.resolve(), answers_file, str(torch.get_num_threads())],
            cwd=scratch,
            env=environment | {"HF_HOME": str(Path(scratch) / "hf_home"), "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        if answers_file.is_file():
            result = json.loads(answers_file.read_text(encoding="utf-8"))
        else:
            last_line = (process.stderr.strip().splitlines() or ["no message"])[-1]
            result = {"error": f"the process ended with status {process.returncode}: {last_line}"}
    if "error" in result:
        raise UserError(f"the bundle does not work in a fresh process, so nothing was uploaded: {result['error']}")
    return result["answers"]


def _differences(expected: Any, found: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """(place, difference) of every pair of leaves; infinite where anything but two numbers disagrees."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        for key in expected:
            yield from _differences(expected[key], found[key], f"{where}, {key}" if where else key)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for mine, theirs in zip(expected, found):
            yield from _differences(mine, theirs, where)
    elif isinstance(expected, (int, float)) and isinstance(found, (int, float)):
        yield where, math.inf if math.isnan(found) else abs(expected - found)
    else:
        yield where, 0.0 if expected == found else math.inf
