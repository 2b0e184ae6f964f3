"""Judge every method on every text model; `python -m tests.conformance.sweep` goes on where it was stopped."""

import hashlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING
from transformers.utils import logging

from attrib_lab.storage.files import write_whole
from tests.conformance import table
from tests.conformance.cases import Case, build, computes_in, kernel_of
from tests.conformance.checks import METHODS, POOLINGS, judge, leaves_no_trace, one_line
from tests.conformance.text_models import text_types
from tests.conformance.tiny_configurations import tiny_configuration


RESULTS = Path("outputs/architectures")  # a folder for each state of the code
PAGE = Path("docs/architectures.md")
_READERS = ("table.py", "test_conformance.py")  # they read rows, and change none


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
            case = _subject(model_type, kernel)
        except Exception as error:
            outcome = "refused" if isinstance(error, ValueError) else "crashed"
            reason = f"{type(error).__name__}: {one_line(error)}"
            rows.append({"kernel": kernel, "pooling": "", "method": "", "outcome": outcome, "reason": reason})
            continue
        row = {"kernel": kernel, "pooling": "", "method": ""}
        if kernel_of(case) != kernel:
            rows.append(row | {"outcome": "wrong", "reason": f"runs {kernel_of(case)} attention"})
        if not leaves_no_trace(case, methods):
            rows.append(row | {"outcome": "wrong", "reason": "explanations change the model's logits"})
        rows += [
            {"kernel": kernel, "pooling": pooling} | vars(judge(case, method, pooling))
            for pooling in poolings
            for method in methods
        ]
    return rows


def _subject(model_type: str, kernel: str) -> Case:
    """In float64, where the bare backbone computes in it: experts' grouped products and half of RWKV do not."""
    dtype = torch.float64 if computes_in(tiny_configuration(model_type), torch.float64) else torch.float32
    return build(lambda: tiny_configuration(model_type), kernel, dtype)


def main(names: list[str]) -> None:
    """Judge the model types named, or all that this code has not judged yet; with all of them, write the page."""
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    folder = RESULTS / _state_of_the_code()
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.json" for name in text_types()}
    waiting = [name for name, file in files.items() if name in names or not (names or file.exists())]
    for number, name in enumerate(waiting, start=1):
        rows = examine(name)
        write_whole(files[name], json.dumps(rows, indent=1))
        wrong = [f"{table.place(row)}: {row['reason']}" for row in rows if row["outcome"] not in table.FINE]
        print(f"{number}/{len(waiting)} {name}", *wrong, sep="\n    ", flush=True)
    if all(file.exists() for file in files.values()):
        write_whole(PAGE, table.render({name: json.loads(file.read_text()) for name, file in files.items()}))


def _state_of_the_code() -> str:
    sources = [*Path("modeling_attrib").glob("*.py"), *Path(__file__).parent.glob("*.py")]
    judges = [source for source in sorted(sources) if source.name not in _READERS]
    text = "".join(source.read_text() for source in judges) + transformers.__version__ + torch.__version__
    return hashlib.sha256(text.encode()).hexdigest()[:12]


if __name__ == "__main__":
    main(sys.argv[1:])
