"""Judge every method on every text model; `python -m tests.conformance.sweep` goes on where it was stopped."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING
from transformers.utils import logging

from attrib_lab.storage.files import write_whole
from tests.conformance import table
from tests.conformance.checks import METHODS, POOLINGS, judge, leaves_no_trace, one_line
from tests.conformance.subjects import Subject, build, computes_in, kernel_of
from tests.conformance.text_models import text_types
from tests.conformance.tiny_configurations import tiny_configuration


RESULTS = Path("outputs/architectures")
PAGE = Path("docs/architectures.md")


def kernels(config: PretrainedConfig) -> list[str]:
    """The attention kernels of torch that this version of transformers has for a type."""
    mapping = MODEL_FOR_TEXT_ENCODING_MAPPING if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else MODEL_MAPPING
    found = mapping[type(config)]
    model_class = found[0] if isinstance(found, tuple) else found
    return ["sdpa", "eager"] if getattr(model_class, "_supports_sdpa", False) else ["eager"]


def examine(
    model_type: str, methods: tuple[str, ...] = METHODS, poolings: tuple[str, ...] = POOLINGS
) -> list[dict[str, Any]]:
    """Rows of one model type: kernel, pooling, method, outcome, reason."""
    rows = []
    for kernel in kernels(tiny_configuration(model_type)):
        try:
            subject = _subject(model_type, kernel)
        except Exception as error:
            outcome = "refused" if isinstance(error, ValueError) else "crashed"
            reason = f"{type(error).__name__}: {one_line(error)}"
            rows.append({"kernel": kernel, "pooling": "", "method": "", "outcome": outcome, "reason": reason})
            continue
        row = {"kernel": kernel, "pooling": "", "method": ""}
        if kernel_of(subject) != kernel:
            rows.append(row | {"outcome": "wrong", "reason": f"runs {kernel_of(subject)} attention"})
        if not leaves_no_trace(subject, methods):
            rows.append(row | {"outcome": "wrong", "reason": "explanations change the model's logits"})
        rows += [
            {"kernel": kernel, "pooling": pooling} | vars(judge(subject, method, pooling))
            for pooling in poolings
            for method in methods
        ]
    return rows


def _subject(model_type: str, kernel: str) -> Subject:
    """In float64, where the bare backbone computes in it: experts' grouped products and half of RWKV do not."""
    dtype = torch.float64 if computes_in(tiny_configuration(model_type), torch.float64) else torch.float32
    return build(lambda: tiny_configuration(model_type), kernel, dtype)


def main(names: list[str]) -> None:
    """Judge the model types named, or all that were not judged yet; with all of them, write the page."""
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    waiting = [name for name in names or text_types() if names or not _file(name).exists()]
    for number, name in enumerate(waiting, start=1):
        rows = examine(name)
        write_whole(_file(name), json.dumps(rows, indent=1))
        wrong = [f"{table.place(row)}: {row['reason']}" for row in rows if row["outcome"] not in table.FINE]
        print(f"{number}/{len(waiting)} {name}", *wrong, sep="\n    ", flush=True)
    results = {name: json.loads(_file(name).read_text()) for name in text_types() if _file(name).exists()}
    if len(results) == len(text_types()):
        write_whole(PAGE, table.render(results))


def _file(name: str) -> Path:
    return RESULTS / f"{name}.json"


if __name__ == "__main__":
    main(sys.argv[1:])
