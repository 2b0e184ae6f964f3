"""Candidates: ways to a label, or to a label and the words behind it. This module: plain forward passes, and ours."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .workload import OURS, Batch, Workload


UNIT = "F"
SLOW = 20  # units: a slower candidate is measured at batch 1 only, in few rounds
_ONNX = ("onnx", "onnxscript", "onnxruntime")
HERE = "main"  # the environment that the benchmark itself runs in


class UnavailableError(Exception):
    """Why a candidate cannot take part here, in one line."""


class Answer(NamedTuple):
    """What a call gives: logits (batch, labels) where the library says them, and scores of the batch's words."""

    logits: torch.Tensor | None
    attributions: Any = None


Explain = Callable[[Batch], Answer]


@dataclass(frozen=True)
class Candidate:
    """One way to explain a batch.

    Attributes:
        name: as in the report; `UNIT` is the plain forward pass.
        role: "forward", "ours" or "external".
        build: makes a workload ready to be explained; may raise `UnavailableError`.
        environment: the one that it runs in.
        modules: packages that it needs there.
        compiles: whether the first call on a new size compiles.
        tolerance: how far its logits may be from the unit's.
    """

    name: str
    role: str
    build: Callable[[Workload], Explain]
    environment: str = HERE
    modules: tuple[str, ...] = ()
    compiles: bool = False
    tolerance: float = 1e-3

    def missing(self) -> str | None:
        """The reason why it cannot even be built, if there is one."""
        missing = [module for module in self.modules if importlib.util.find_spec(module) is None]
        return f"{' and '.join(missing)} not installed" if missing else None


CANDIDATES: dict[str, Candidate] = {}


def candidate(name: str, role: str, **arguments: Any) -> Callable[[Callable[[Workload], Explain]], Any]:
    """Enter the decorated `build` function under `name`; arguments are `Candidate`'s."""

    def enter(build: Callable[[Workload], Explain]) -> Callable[[Workload], Explain]:
        CANDIDATES[name] = Candidate(name, role, build, **arguments)
        return build

    return enter


def plain_forward(workload: Workload) -> Explain:
    """The unit: logits by transformers, float32, no gradients. It is timed in every environment."""
    return _forward_of(workload.model)


# The same forward pass by faster kernels: what of a win is the kernel's ---------------------------------------------


@candidate("forward, compiled", "forward", compiles=True)
def _forward_compiled(workload: Workload) -> Explain:
    return _compiled_forward(workload.model)


@candidate("forward, compiled bfloat16", "forward", compiles=True, tolerance=0.1)
def _forward_compiled_bfloat16(workload: Workload) -> Explain:
    return _compiled_forward(_plain_bfloat16(workload))


@candidate("forward, bfloat16", "forward", tolerance=0.1)
def _forward_bfloat16(workload: Workload) -> Explain:
    return _forward_of(_plain_bfloat16(workload))


@candidate("forward, ONNX", "forward", modules=_ONNX)
def _forward_onnx(workload: Workload) -> Explain:
    session = _onnx_session(_forward_file(workload))
    return lambda batch: Answer(*_run_onnx(session, batch, {}, ["logits"]))


@candidate("forward, ONNX int8", "forward", modules=_ONNX, tolerance=0.5)
def _forward_int8(workload: Workload) -> Explain:
    from attrib_lab.exporting.export import quantize

    file = workload.folder / "forward_int8.onnx"
    if not file.exists():
        quantize(_forward_file(workload), file)
    session = _onnx_session(file)
    return lambda batch: Answer(*_run_onnx(session, batch, {}, ["logits"]))


def _forward_of(model: Any) -> Explain:
    @torch.no_grad()
    def forward(batch: Batch) -> Answer:
        return Answer(model(**batch.inputs).logits)

    return forward


def _compiled_forward(model: Any) -> Explain:
    from torch._inductor import config

    forward = _forward_of(torch.compile(model, dynamic=True))  # as compile_attributions() does

    def frozen(batch: Batch) -> Answer:
        with config.patch(freezing=True):
            return forward(batch)

    return frozen


def _plain_bfloat16(workload: Workload) -> Any:
    _require_bfloat16()
    return type(workload.model).from_pretrained(workload.folder).bfloat16().eval()


def _forward_file(workload: Workload) -> Path:
    file = workload.folder / "forward.onnx"
    if not file.exists():
        example = workload.batch(2, 8).inputs
        texts = torch.export.Dim("texts", min=1)
        tokens = torch.export.Dim("tokens", min=1, max=workload.model.config.max_position_embeddings)
        torch.onnx.export(
            workload.model,
            kwargs=example,
            f=file,
            dynamo=True,
            dynamic_shapes={name: {0: texts, 1: tokens} for name in example},
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
    return file


# Label and words by this project, with the default method ------------------------------------------------------------


@candidate("ours", "ours")
def _ours(workload: Workload) -> Explain:
    return _answer_of(_load_ours(workload))


@candidate("ours, lrp", "ours")
def _ours_lrp(workload: Workload) -> Explain:
    return _answer_of(_load_ours(workload), attribution_method="lrp")


@candidate("ours, all labels", "ours")
def _ours_all_labels(workload: Workload) -> Explain:
    return _answer_of(_load_ours(workload), attribution_target="all")


@candidate("ours, bfloat16", "ours", tolerance=0.1)
def _ours_bfloat16(workload: Workload) -> Explain:
    _require_bfloat16()
    return _answer_of(_load_ours(workload).bfloat16())


@candidate("ours, compiled", "ours", compiles=True)
def _ours_compiled(workload: Workload) -> Explain:
    return _answer_of(_load_ours(workload).compile_attributions())


@candidate("ours, AOTInductor", "ours")
def _ours_aoti(workload: Workload) -> Explain:
    return _aoti_answer(workload, "fp32")


@candidate("ours, AOTInductor bfloat16", "ours", tolerance=0.1)
def _ours_aoti_bfloat16(workload: Workload) -> Explain:
    _require_bfloat16()
    return _aoti_answer(workload, "bf16")


@candidate("ours, ONNX", "ours", modules=_ONNX)
def _ours_onnx(workload: Workload) -> Explain:
    return _onnx_answer(workload, "onnx", "fp32")


@candidate("ours, ONNX int8", "ours", modules=_ONNX, tolerance=0.5)
def _ours_onnx_int8(workload: Workload) -> Explain:
    return _onnx_answer(workload, "onnx", "int8")


@candidate("ours, onnxruntime", "ours", modules=_ONNX)
def _ours_onnxruntime(workload: Workload) -> Explain:
    return _onnx_answer(workload, "onnxruntime", "fp32")


@candidate("ours, onnxruntime int8", "ours", modules=_ONNX, tolerance=0.5)
def _ours_onnxruntime_int8(workload: Workload) -> Explain:
    return _onnx_answer(workload, "onnxruntime", "int8")


def _exported(workload: Workload, format: str, precision: str) -> Path:
    """The file of `attrib export`, made once. Whether its smaller numbers are good enough is not asked here: the
    classifier's head is not trained."""
    from attrib_lab.exporting.export import FORMATS, export_model

    folder = workload.folder / f"exported_{format}_{precision}"
    if not (folder / FORMATS[format]).exists():
        texts = None if precision == "fp32" else workload.batch(4, 32).texts
        export_model(workload.folder / OURS, folder, format, precision, texts, allow_loss=True)
    return folder / FORMATS[format]


def _onnx_answer(workload: Workload, format: str, precision: str) -> Explain:
    session = _onnx_session(_exported(workload, format, precision))
    return lambda batch: Answer(*_run_onnx(session, batch, _no_wishes(batch), ["logits", "attributions"]))


def _aoti_answer(workload: Workload, precision: str) -> Explain:
    file = _exported(workload, "aoti", precision)
    names = json.loads((file.parent / "attrib.json").read_text(encoding="utf-8"))["inputs"]
    graph = torch._inductor.aoti_load_package(str(file))

    @torch.no_grad()
    def explain(batch: Batch) -> Answer:
        inputs = batch.inputs | _no_wishes(batch)
        return Answer(*graph(*(inputs[name] for name in names))[:2])

    return explain


def _no_wishes(batch: Batch) -> dict[str, torch.Tensor]:
    """The predicted label of each text, and no contrast."""
    none = torch.full((len(batch.texts),), -1)
    return {"attribution_target": none, "attribution_contrast": none}


def _load_ours(workload: Workload) -> Any:
    from modeling_attrib import AttribForSequenceClassification

    return AttribForSequenceClassification.from_pretrained(str(workload.folder / OURS)).eval()


def _answer_of(model: Any, **question: Any) -> Explain:
    @torch.no_grad()
    def explain(batch: Batch) -> Answer:
        out = model(**batch.inputs, **question)
        return Answer(out.logits, out.attributions)

    return explain


def _require_bfloat16() -> None:
    from attrib_lab.training.devices import computes_in_bfloat16

    if not computes_in_bfloat16():
        raise UnavailableError("this processor has no bfloat16 arithmetic")


def _onnx_session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _run_onnx(session: Any, batch: Batch, extra: dict[str, torch.Tensor], outputs: list[str]) -> list[torch.Tensor]:
    inputs = batch.inputs | extra
    feed = {entry.name: inputs[entry.name].numpy() for entry in session.get_inputs()}
    return [torch.from_numpy(value) for value in session.run(outputs, feed)]
