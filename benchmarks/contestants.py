"""Contestants: ways to a label, or to a label and the words behind it. This module: plain forward passes, and ours."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from .subjects import OURS, Batch, Subject


UNIT = "F"
SLOW = 20  # units: a slower contestant is measured at batch 1 only, in few rounds
HERE = "main"  # the environment that the benchmark itself runs in


class UnavailableError(Exception):
    """Why a contestant cannot take part here, in one line."""


class Answer(NamedTuple):
    """What a call gives: logits (batch, labels) where the library says them, and scores of the batch's words."""

    logits: torch.Tensor | None
    attributions: Any = None


Explain = Callable[[Batch], Answer]


@dataclass(frozen=True)
class Contestant:
    """One way to explain a batch.

    Attributes:
        name: as in the report; `UNIT` is the plain forward pass.
        role: "forward", "ours" or "peer".
        build: makes a subject ready to be explained; may raise `UnavailableError`.
        environment: the one that it runs in.
        modules: packages that it needs there.
        compiles: whether the first call on a new size compiles.
        tolerance: how far its logits may be from the unit's.
    """

    name: str
    role: str
    build: Callable[[Subject], Explain]
    environment: str = HERE
    modules: tuple[str, ...] = ()
    compiles: bool = False
    tolerance: float = 1e-3

    def missing(self) -> str | None:
        """The reason why it cannot even be built, if there is one."""
        missing = [module for module in self.modules if importlib.util.find_spec(module) is None]
        return f"{' and '.join(missing)} not installed" if missing else None


CONTESTANTS: dict[str, Contestant] = {}


def contestant(name: str, role: str, **arguments: Any) -> Callable[[Callable[[Subject], Explain]], Any]:
    """Enter the decorated `build` function under `name`; arguments are `Contestant`'s."""

    def enter(build: Callable[[Subject], Explain]) -> Callable[[Subject], Explain]:
        CONTESTANTS[name] = Contestant(name, role, build, **arguments)
        return build

    return enter


def plain_forward(subject: Subject) -> Explain:
    """The unit: logits by transformers, float32, no gradients. It is timed in every environment."""

    @torch.no_grad()
    def forward(batch: Batch) -> Answer:
        return Answer(subject.model(**batch.inputs).logits)

    return forward


# The same forward pass by faster kernels: what of a win is the kernel's ---------------------------------------------


@contestant("forward, compiled", "forward", compiles=True)
def _forward_compiled(subject: Subject) -> Explain:
    from torch._inductor import config

    compiled = torch.compile(subject.model, dynamic=True)  # as compile_attributions() does

    @torch.no_grad()
    def forward(batch: Batch) -> Answer:
        with config.patch(freezing=True):
            return Answer(compiled(**batch.inputs).logits)

    return forward


@contestant("forward, ONNX", "forward", modules=("onnx", "onnxscript", "onnxruntime"))
def _forward_onnx(subject: Subject) -> Explain:
    file = subject.folder / "forward.onnx"
    if not file.exists():
        example = subject.batch(2, 8).inputs
        texts = torch.export.Dim("texts", min=1)
        tokens = torch.export.Dim("tokens", min=1, max=subject.model.config.max_position_embeddings)
        shapes = {name: {0: texts, 1: tokens} for name in example}
        torch.onnx.export(
            subject.model,
            kwargs=example,
            f=file,
            dynamo=True,
            dynamic_shapes=shapes,
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
    session = _onnx_session(file)
    return lambda batch: Answer(*_run_onnx(session, batch, {}, ["logits"]))


@contestant("forward, bfloat16", "forward", tolerance=0.1)
def _forward_bfloat16(subject: Subject) -> Explain:
    _require_bfloat16()
    model = type(subject.model).from_pretrained(subject.folder).bfloat16().eval()

    @torch.no_grad()
    def forward(batch: Batch) -> Answer:
        return Answer(model(**batch.inputs).logits)

    return forward


# Label and words by this project ------------------------------------------------------------------------------------


@contestant("ours", "ours")
def _ours(subject: Subject) -> Explain:
    return _answer_of(_load_ours(subject))


@contestant("ours, damped_lrp", "ours")
def _ours_damped(subject: Subject) -> Explain:
    return _answer_of(_load_ours(subject), attribution_method="damped_lrp")


@contestant("ours, all labels", "ours")
def _ours_all_labels(subject: Subject) -> Explain:
    return _answer_of(_load_ours(subject), attribution_target="all")


@contestant("ours, compiled", "ours", compiles=True)
def _ours_compiled(subject: Subject) -> Explain:
    model = _load_ours(subject)
    if not hasattr(model, "compile_attributions"):
        raise UnavailableError("this version of the model has no compile_attributions()")
    model.compile_attributions()
    return _answer_of(model)


@contestant("ours, ONNX", "ours", modules=("onnx", "onnxscript", "onnxruntime"))
def _ours_onnx(subject: Subject) -> Explain:
    if importlib.util.find_spec("attrib_lab.exporting") is None:
        raise UnavailableError("this version has no attrib_lab.exporting")
    from attrib_lab.exporting import export_model

    folder = subject.folder / "exported"
    if not (folder / "model.onnx").exists():
        export_model(str(subject.folder / OURS), str(folder), format="onnx")
    session = _onnx_session(folder / "model.onnx")

    def explain(batch: Batch) -> Answer:
        none = torch.full((len(batch.texts),), -1)
        extra = {"attribution_target": none, "attribution_contrast": none}
        return Answer(*_run_onnx(session, batch, extra, ["logits", "attributions"]))

    return explain


@contestant("ours, bfloat16", "ours", tolerance=0.1)
def _ours_bfloat16(subject: Subject) -> Explain:
    _require_bfloat16()
    return _answer_of(_load_ours(subject).bfloat16())


def _load_ours(subject: Subject) -> Any:
    from modeling_attrib import AttribForSequenceClassification

    return AttribForSequenceClassification.from_pretrained(str(subject.folder / OURS)).eval()


def _answer_of(model: Any, **question: Any) -> Explain:
    @torch.no_grad()
    def explain(batch: Batch) -> Answer:
        out = model(**batch.inputs, **question)
        return Answer(out.logits, out.attributions)

    return explain


def _require_bfloat16() -> None:
    from attrib_lab.devices import computes_in_bfloat16

    if not computes_in_bfloat16():
        raise UnavailableError("this processor has no bfloat16 arithmetic")


def _onnx_session(file: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _run_onnx(session: Any, batch: Batch, extra: dict[str, torch.Tensor], outputs: list[str]) -> list[torch.Tensor]:
    inputs = batch.inputs | extra
    feed = {entry.name: inputs[entry.name].numpy() for entry in session.get_inputs()}
    return [torch.from_numpy(value) for value in session.run(outputs, feed)]
