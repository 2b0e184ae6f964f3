"""From a trained model folder to one file that gives label and words without autograd, and without this package."""

import importlib.util
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from modeling_attrib import AttribForSequenceClassification
from modeling_attrib.attention_records import ExplicitAttention
from modeling_attrib.backbone_parts import token_limit
from modeling_attrib.onnx_attrib import weights_digest
from modeling_attrib.tracing import OUTPUTS, export_attributions, graph_inputs

from ..models.model_folder import TrainedModel, load_trained_model
from ..storage.files import refusal
from ..storage.folders import locked, replacing
from ..terminal.errors import UserError, first_line, nearest
from .check import SHAPES, PrecisionLoss, Run, check_equal, measure_loss
from .formats import FORMATS, PRECISIONS
from .onnx_attention import OnnxruntimeAttention


_ATTENTION = {"onnx": ExplicitAttention, "onnxruntime": OnnxruntimeAttention, "pt2": nullcontext, "aoti": nullcontext}
DESCRIPTION_FILE = "attrib.json"
_KIND = "an exported graph"
LABELS_KEPT, CORRELATION = 0.99, 0.98  # below, a reduced precision is refused


def export_model(
    model_dir: str | Path,
    output: str | Path,
    format: str = "onnx",
    precision: str = "fp32",
    texts: list[str] | None = None,
    allow_loss: bool = False,
) -> Path:
    """Write a model folder's classifier and attribution method as one graph, dynamic in texts and tokens.

    The graph's inputs are the tokenizer's plus `attribution_target` and `attribution_contrast`, int64 (batch,), -1 for
    the predicted label and for no contrast; its outputs are `logits`, `attributions` and `explained_target`. Beside it
    come the tokenizer and `attrib.json`, which says inputs, outputs, labels and method; the file itself says so too.

    Args:
        model_dir: what `train.py` left.
        output: a folder; made if need be.
        format: "onnx" (any ONNX runtime), "onnxruntime" (its own fused attention instead of tokens × tokens, which
            other runtimes do not know), "pt2" (torch.export, on a CPU) or "aoti" (compiled for this machine's
            processor); the latter two call torch's fused attention.
        precision: "fp32"; "int8" for either ONNX; "bf16" for the others.
        texts: real texts to measure what a reduced precision loses; needed for one.
        allow_loss: keep a reduced precision whatever it loses.

    Returns:
        The graph's file.

    Raises:
        UserError: for a folder, format or precision that cannot be used; if the written graph differs from the model
            on shapes that it was not recorded with; or if a reduced precision loses too much. Nothing is written then.
    """
    if format not in FORMATS:
        raise UserError(f"--format is {' or '.join(FORMATS)}, not {format!r}.{nearest(format, list(FORMATS))}")
    if precision not in PRECISIONS[format]:
        raise UserError(f"{format} is written in {' or '.join(PRECISIONS[format])}, not in {precision}.")
    if precision != "fp32" and not texts:
        raise UserError(f"--precision {precision} needs --data: real texts that show what it loses.")
    if precision == "fp32" and texts:
        raise UserError("--data measures what --precision int8 or bf16 loses; fp32 loses nothing.")
    if FORMATS[format].endswith(".onnx"):
        _require("onnx", "onnxscript", "onnxruntime")
    output = Path(output)
    with locked(output, _KIND):
        _refuse_mixture(output, FORMATS[format])
        # What is written on the way, too, goes where the graph will be.
        with replacing(output, _KIND) as new, tempfile.TemporaryDirectory(dir=new) as scratch, _quiet_exporter():
            file = _write_graph(model_dir, new, Path(scratch), format, precision, texts, allow_loss)
    return output / file


def _write_graph(
    model_dir: str | Path,
    folder: Path,
    scratch: Path,
    format: str,
    precision: str,
    texts: list[str] | None,
    allow_loss: bool,
) -> str:
    """Write graph, tokenizer and description into `folder`; the graph's name there."""
    trained = load_trained_model(Path(model_dir))
    model = trained.model.eval()
    names = graph_inputs(model, trained.tokenizer.model_input_names)
    limit = token_limit(model.config, model.backbone, trained.tokenizer)
    description = _describe(trained, names, FORMATS[format], precision)
    method = model.config.attribution_method
    print(f"recording classifier and attribution method ({method}) as one graph; with the checks, a minute or two.")
    file = scratch / FORMATS[format]
    exported = _in_bfloat16(model_dir) if precision == "bf16" else model
    program = _export(exported, names, limit, format)
    try:
        print(f"writing {FORMATS[format]}.")
        run = _WRITERS[format](program, file, names, description)
        difference = check_equal(run, model, names, limit) if precision == "fp32" else None
        if precision == "int8":
            quantize(file.rename(file.with_suffix(".fp32")), file)
            run = _onnx_run(file, names)
    except UserError:
        raise
    except Exception as error:  # whatever the format's own library says
        if refusal(error):
            raise
        raise UserError(f"the model cannot be written as {format}: {first_line(error)}") from error
    if precision == "fp32":
        print(f"checked: it equals the model on {SHAPES} other sizes of input; largest difference {difference:.1e}.")
    else:
        loss = measure_loss(run, model, trained.tokenizer, names, texts, limit)
        description["precision_loss"] = loss.as_dict()
        _judge_loss(loss, precision, allow_loss)
    trained.tokenizer.save_pretrained(folder)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    os.replace(file, folder / file.name)
    return file.name


def _judge_loss(loss: PrecisionLoss, precision: str, allow_loss: bool) -> None:
    if not allow_loss and (loss.labels_kept < LABELS_KEPT or loss.correlation < CORRELATION):
        raise UserError(
            f"{precision} keeps {loss.labels_kept:.2%} of the labels and attributions that correlate by "
            f"{loss.correlation:.4f}; at least {LABELS_KEPT:.0%} and {CORRELATION} are asked for. "
            "--allow-loss writes it nevertheless."
        )
    print(f"{precision}: {loss}")


def _require(*packages: str) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"this needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def _refuse_mixture(output: Path, file: str) -> None:
    """One graph a folder: attrib.json describes one, and whoever opens the folder must not guess which."""
    others = [name for name in FORMATS.values() if name != file and (output / name).exists()]
    if others:
        raise UserError(f"--output {output} already holds {others[0]}: choose another folder for {file}.")


def _describe(trained: TrainedModel, names: list[str], file: str, precision: str) -> dict[str, Any]:
    config = trained.model.config
    return {
        "file": file,
        "weights": weights_digest(trained.model),
        "inputs": names,
        "outputs": list(OUTPUTS),
        "id2label": {str(index): name for index, name in config.id2label.items()},
        "problem_type": config.problem_type,
        "attribution_method": config.attribution_method,
        "attribution_options": config.attribution_options,
        "max_tokens": token_limit(trained.model.config, trained.model.backbone, trained.tokenizer),
        "precision": precision,
    }


def _in_bfloat16(model_dir: str | Path) -> AttribForSequenceClassification:
    return AttribForSequenceClassification.from_pretrained(str(model_dir), dtype=torch.bfloat16).eval()


def _export(
    model: AttribForSequenceClassification, names: list[str], limit: int, format: str
) -> torch.export.ExportedProgram:
    try:
        return export_attributions(model, names, limit, _ATTENTION[format])
    except ValueError as error:
        raise UserError(f"export: {first_line(error)}") from None


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without what torch.onnx says of torchvision's operators, and torch of its own deprecations: nothing to act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


# Formats: each writes the program, and returns a function that runs what it wrote --------------------------------


def _write_onnx(program: torch.export.ExportedProgram, file: Path, names: list[str], description: dict) -> Run:
    written = torch.onnx.export(program, dynamo=True, input_names=names, output_names=list(OUTPUTS), verbose=False)
    written.model.metadata_props.update({f"attrib_{key}": json.dumps(value) for key, value in description.items()})
    written.save(file, external_data=False)
    return _onnx_run(file, names)


def _onnx_run(file: Path, names: list[str]) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda inputs: [torch.from_numpy(v) for v in session.run(None, {n: inputs[n].numpy() for n in names})]


def quantize(source: Path, file: Path) -> None:
    """Write the ONNX file `source` with weights of 8 bits, one scale per output channel, into `file`."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = file.with_suffix(".prepared")
    # The backward pass reads each weight transposed: folded in, it becomes a weight with channels of its own.
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    for value in model.graph.value_info:  # folding transposes weights and leaves their old shapes written down
        value.type.tensor_type.ClearField("shape")
    onnx.save(model, prepared)
    quantize_dynamic(prepared, file, per_channel=True, weight_type=QuantType.QInt8)
    prepared.unlink()


def _write_pt2(program: torch.export.ExportedProgram, file: Path, names: list[str], description: dict) -> Run:
    archive = io.BytesIO()  # to a file, torch ends the process when the disk is full
    torch.export.save(program, archive, extra_files={DESCRIPTION_FILE: json.dumps(description)})
    file.write_bytes(archive.getbuffer())
    module = torch.export.load(file).module()
    return lambda inputs: module(*(inputs[name] for name in names))


def _write_aoti(program: torch.export.ExportedProgram, file: Path, names: list[str], description: dict) -> Run:
    metadata = {key: json.dumps(value) for key, value in description.items()}
    with torch.no_grad():  # with gradients switched on, weights are not frozen into the kernels, without a word
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(file),
            inductor_configs={"freezing": True, "aot_inductor.metadata": metadata},
        )
    module = torch._inductor.aoti_load_package(str(file))
    return lambda inputs: module(*(inputs[name] for name in names))


_WRITERS: dict[str, Callable[..., Run]] = {
    "onnx": _write_onnx,
    "onnxruntime": _write_onnx,
    "pt2": _write_pt2,
    "aoti": _write_aoti,
}
