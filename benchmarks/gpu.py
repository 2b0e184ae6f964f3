"""What an explanation costs on a GPU, in units of F, a plain forward pass of the same type, timed by CUDA events.

    python -m benchmarks.gpu                                          # writes gpu.json and gpu.md
    python -m benchmarks.gpu --device cpu --sizes 1x64 --output DIR   # the same code without a GPU, to try it out

A call's time is what passes on the device between two events in its stream, so that Python's own time counts where the
device waits for it, and only there. Texts are of equal length, so that no mask is in the way of a kernel.
"""

import argparse
import copy
import gc
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import transformers
from tqdm import tqdm
from transformers import AutoConfig

from attrib_lab.models.backbones import resolve_backbone
from attrib_lab.terminal.errors import UserError, run_command
from modeling_attrib import AttribForSequenceClassification

from .measurement import Seconds, measure_interleaved, time_call
from .speed import parse_size


UNIT = "F"
PRETRAINED = 512  # the longest text that the backbone's own position table reaches
LABELS = 4
SIZES = ["1x64", "1x128", "1x512", "8x128", "32x128", "8x512", "32x512", "1x2048", "1x8192"]
METHODS = ("damped_lrp", "lrp", "attn_lrp", "gradient_x_input", "attcat", "grad_sam")
LONGEST_WRITTEN_OUT = 2048  # tokens: beyond, grad_sam's matrices of six layers would fill a GPU
# name -> (type of the weights, type of autocast)
PRECISIONS = {
    "float32": (torch.float32, None),
    "bfloat16": (torch.bfloat16, None),
    "float16": (torch.float16, None),
    "autocast to bfloat16": (torch.float32, torch.bfloat16),
}


def time_by_events(call: Callable[[], object], repeats: int = 1) -> Seconds:
    """Mean seconds on the device, from event to event, of `repeats` calls in a row; and of the processor."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    cpu = time.process_time()
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return Seconds(start.elapsed_time(end) / 1e3 / repeats, (time.process_time() - cpu) / repeats)


def build_subject(backbone: str, tokens: int) -> AttribForSequenceClassification:
    """A classifier on that encoder; of its shape, with random weights, where its positions do not reach so far."""
    torch.manual_seed(0)
    source = resolve_backbone(backbone)
    if tokens <= PRETRAINED:
        return AttribForSequenceClassification.from_backbone(source, num_labels=LABELS)
    config = AutoConfig.from_pretrained(source)
    config.max_position_embeddings = tokens
    return AttribForSequenceClassification.from_backbone(config, num_labels=LABELS)


def candidates(
    model: AttribForSequenceClassification, inputs: dict[str, torch.Tensor], narrowed: Callable[[], Any]
) -> dict[str, Callable[[], object]]:
    """Name -> a call, of which the first is the plain forward pass."""

    def ask(**arguments: Any) -> Callable[[], object]:
        def call() -> object:
            with torch.inference_mode(), narrowed():
                return model(**inputs, **arguments)

        return call

    tokens = inputs["input_ids"].shape[1]
    methods = [name for name in METHODS if name != "grad_sam" or tokens <= LONGEST_WRITTEN_OUT]
    calls = {UNIT: ask(output_attributions=False)} | {name: ask(attribution_method=name) for name in methods}
    return calls | {"damped_lrp, all labels": ask(attribution_target="all", attribution_method="damped_lrp")}


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each size, precision and candidate."""
    device, rows = torch.device(arguments.device), []
    clock = time_by_events if device.type == "cuda" else time_call
    sizes = [parse_size(size) for size in arguments.sizes]
    with tqdm(total=len(sizes) * len(arguments.precisions), desc="sizes and types") as bar:
        for texts, tokens in sizes:
            workload = build_subject(arguments.backbone, tokens)
            generator = torch.Generator().manual_seed(texts * 10_000 + tokens)
            ids = torch.randint(1000, 20_000, (texts, tokens), generator=generator).to(device)
            for name in arguments.precisions:
                dtype, autocast = PRECISIONS[name]
                model = copy.deepcopy(workload).to(device, dtype)  # digits that a narrow type drops do not come back

                def narrowed(autocast: torch.dtype | None = autocast) -> AbstractContextManager:
                    return torch.autocast(device.type, autocast, enabled=autocast is not None)

                calls = candidates(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, narrowed)
                peaks = {candidate: peak_bytes(call, device) for candidate, call in calls.items()}
                expected = {candidate: clock(call, 1).wall for candidate, call in calls.items()}
                measured = measure_interleaved(calls, UNIT, arguments.rounds, expected, clock)
                for candidate, figures in measured.items():
                    row = {"texts": texts, "tokens": tokens, "precision": name, "candidate": candidate}
                    rows.append(row | figures | {"memory": peaks[candidate]})
                bar.update()
    return rows


def peak_bytes(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes on the GPU at most during the call, above what was there before; None on a CPU. Warms the call up too."""
    call()
    if device.type != "cuda":
        return None
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return torch.cuda.max_memory_allocated() - before


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write gpu.json and gpu.md into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / "gpu.md").write_text(_markdown(report), encoding="utf-8")


def _markdown(report: dict[str, Any]) -> str:
    settings, rows = report["settings"], report["rows"]
    parts = [
        "# What an explanation costs on a GPU",
        f"{report['device']}. {report['versions']}. {settings['backbone']}, mean pooling, {LABELS} labels; random "
        f"weights above {PRETRAINED} tokens. {UNIT} is a plain forward pass, of the same type, on the same texts, "
        f"without gradients. Times are taken {report['clock']}, in turn, in {settings['rounds']} rounds; tables say "
        "the median (lower–upper quartile) of the ratios within a round. TF32 is off. All texts of a batch are "
        "equally long.",
    ]
    for precision in dict.fromkeys(row["precision"] for row in rows):
        own = [row for row in rows if row["precision"] == precision]
        parts += [f"## {precision}: in {UNIT}", _table([r for r in own if r["candidate"] != UNIT], _ratio)]
        parts += [f"## {precision}: milliseconds", _table(own, lambda row: f"{1e3 * row['seconds']['median']:.3g}")]
        if any(row["memory"] is not None for row in own):
            parts += [f"## {precision}: peak memory, MB", _table(own, lambda row: f"{row['memory'] / 1e6:.0f}")]
    return "\n\n".join(parts) + "\n"


def _ratio(row: dict[str, Any]) -> str:
    ratio = row["ratio"]
    return f"{ratio['median']:.2f} ({ratio['lower_quartile']:.2f}–{ratio['upper_quartile']:.2f})"


def _table(rows: list[dict[str, Any]], cell: Callable[[dict[str, Any]], str]) -> str:
    sizes = dict.fromkeys((row["texts"], row["tokens"]) for row in rows)
    cells = {(row["candidate"], row["texts"], row["tokens"]): cell(row) for row in rows}
    lines = [["texts × tokens", *(f"{texts}×{tokens}" for texts, tokens in sizes)], ["---"] * (len(sizes) + 1)]
    for name in dict.fromkeys(row["candidate"] for row in rows):
        lines.append([name, *(cells.get((name, *size), "–") for size in sizes)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="sentence-transformers/all-MiniLM-L6-v2", help="a BERT: Hub id or folder")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="SIZE", help="texts x tokens")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, help="folder for the report; by default benchmarks, for a GPU alone")
    arguments = parser.parse_args()
    on_gpu = arguments.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        raise UserError("torch finds no CUDA device here; to try the code out: --device cpu --output DIR.")
    if not on_gpu and arguments.output is None:
        raise UserError("figures that are no GPU's go elsewhere: name a folder with --output.")
    torch.set_float32_matmul_precision("highest")
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, transformers {transformers.__version__}"
    report = {
        "device": torch.cuda.get_device_name() if on_gpu else arguments.device,
        "clock": "by CUDA events" if on_gpu else "by the clock",
        "versions": versions if on_gpu else versions.replace(f"CUDA {torch.version.cuda}, ", ""),
        "settings": {name: getattr(arguments, name) for name in ("backbone", "sizes", "rounds")},
        "rows": measure(arguments),
    }
    folder = arguments.output or Path(__file__).parent
    write_report(report, folder)
    print((folder / "gpu.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_command(main)
