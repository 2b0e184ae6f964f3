"""What a bundle answers, asked in a fresh process: python fresh_process.py BUNDLE ANSWERS_FILE THREADS.

`proof.py` copies this file alone into an empty folder and runs it there, as somebody would who has the
bundle and not this package. So it imports nothing of the package, and makes sure that nothing else can.
"""

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline


ABSENT_PACKAGES = ("modeling_attrib", "attrib_lab")

_TWO_SENTENCES = "Stocks rally as oil prices fall. Nobody in the city had seen the like, the minister said. "
TEXTS: dict[str, dict[str, str]] = {
    "plain text": {"text": "Stocks rally as oil prices fall, but the keeper saved the match."},
    "emoji text": {"text": "Ça alors 🛢️👩🏽‍🚀: the team won the cup 🏆!"},
    "pair": {"text": "Who won the cup?", "text_pair": "The keeper saved the last penalty."},
    "empty text": {"text": ""},
    "long text": {"text": _TWO_SENTENCES * 36},  # 612 words: windows, under the usual limit of 512 tokens
}
_CALLED_DIRECTLY = ("plain text", "emoji text", "pair")
_TOKENS_CALLED_DIRECTLY = 16  # a bare call makes no windows: stay below any model's limit

Answers = dict[str, dict[str, Any]]


def align_weights(model: torch.nn.Module) -> None:
    """Give every weight memory of its own, aligned as torch aligns all it makes.

    Weights read from a file start where the file's header happens to end, and matrix products over memory that is
    aligned differently differ in the last bit.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def model_answers(model: Any, tokenizer: Any) -> Answers:
    """Logits, attributions, target and residual of the short texts, as numbers that JSON keeps exactly."""
    answers: Answers = {}
    for name in _CALLED_DIRECTLY:
        limits = {"truncation": True, "max_length": _TOKENS_CALLED_DIRECTLY}
        inputs = tokenizer(**TEXTS[name], **limits, return_tensors="pt")
        with torch.no_grad():
            output = model(**inputs)
        answers[name] = {key: value.tolist() for key, value in output.items()}
    return answers


def pipeline_answers(classify: Any, labels: Sequence[str]) -> Answers:
    """The pipeline's results for all texts, and for one with every question that can be asked of it."""
    answers = {name: classify(text if "text_pair" in text else text["text"]) for name, text in TEXTS.items()}
    text, (first, *others) = TEXTS["plain text"]["text"], labels
    question = {"target": first, "contrast": others[-1] if others else None, "aggregation": "token"}
    answers["question"] = classify(text, method="gradient_x_input", **question)
    answers["every label"] = classify(text, top_k=None)
    return answers


def bundle_answers(bundle: str) -> dict[str, Answers]:
    """The answers of the bundle's own code, by way of loading: each Auto class, the pipeline, and an endpoint's.

    Raises:
        RuntimeError: if this package can be imported here, or was used in place of the bundle's code.
    """
    for package in ABSENT_PACKAGES:
        if importlib.util.find_spec(package) is not None:
            raise RuntimeError(f"{package} can be imported: this would not show what the bundle does alone.")
    tokenizer = AutoTokenizer.from_pretrained(bundle, trust_remote_code=True)
    answers = {}
    for loader in (AutoModel, AutoModelForSequenceClassification):
        model = loader.from_pretrained(bundle, trust_remote_code=True)
        _check_origin(model)
        align_weights(model)
        answers[loader.__name__] = model_answers(model, tokenizer)
    classify = pipeline("text-classification", model=bundle, trust_remote_code=True, device="cpu")
    _check_origin(classify)
    align_weights(classify.model)
    labels = list(classify.model.config.id2label.values())
    answers["pipeline"] = pipeline_answers(classify, labels)
    answers["EndpointHandler"] = pipeline_answers(_asking_endpoint(bundle), labels)
    return answers


def _asking_endpoint(bundle: str) -> Callable[..., Any]:
    """Called like the pipeline: each call is a request to the bundle's handler, as JSON brings it."""
    specification = importlib.util.spec_from_file_location("handler", Path(bundle) / "handler.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    handler = module.EndpointHandler(bundle)
    _check_origin(handler.pipeline)
    handler.pipeline.model.to("cpu")  # an endpoint takes the device that there is
    handler.pipeline.device = torch.device("cpu")
    align_weights(handler.pipeline.model)
    return lambda inputs, **parameters: handler(json.loads(json.dumps({"inputs": inputs, "parameters": parameters})))


def _check_origin(loaded: Any) -> None:
    kind = type(loaded)
    if not kind.__module__.startswith("transformers_modules."):
        raise RuntimeError(f"{kind.__name__} comes from {kind.__module__}, not from the bundle.")


def main() -> None:
    """Write `{"answers": ...}` or, if anything goes wrong, `{"error": "one line"}`."""
    bundle, answers_file, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))  # another number of threads adds in another order
    for package in ABSENT_PACKAGES:
        # However this environment knows the package (installed, in editable mode, by a path): not here.
        sys.modules[package] = None
    try:
        result = {"answers": bundle_answers(bundle)}
    except Exception as error:  # code from the bundle may raise anything; the parent process reports it
        first_line = (str(error).strip().splitlines() or [""])[0]
        result = {"error": f"{type(error).__name__}: {first_line}"}
    Path(answers_file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
