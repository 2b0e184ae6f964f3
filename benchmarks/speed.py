"""What an explanation costs, in units of one plain forward pass of the same model on the same inputs.

    python benchmarks/speed.py [--threads 2] [--rounds 7] [--output benchmarks/speed.json]

Contestants run in turn, round after round, so that a drift of the machine's speed meets all alike; the ratio is taken
within each round, and its median and spread are reported.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from attrib_lab.backbones import resolve_backbone
from attrib_lab.errors import run_command
from modeling_attrib import AttribForSequenceClassification


SIZES = [(1, 32), (1, 128), (8, 128), (32, 64), (8, 512)]  # (texts, tokens)


def contestants(
    model: AttribForSequenceClassification, inputs: dict[str, torch.Tensor]
) -> dict[str, Callable[[], object]]:
    """Name -> a call to time; the first one is the unit."""
    return {
        "forward": lambda: model(**inputs, output_attributions=False),
        "lrp": lambda: model(**inputs, attribution_method="lrp"),
        "lrp, all 4 labels": lambda: model(**inputs, attribution_method="lrp", attribution_target="all"),
        "attn_lrp": lambda: model(**inputs, attribution_method="attn_lrp"),
        "gradient_x_input": lambda: model(**inputs, attribution_method="gradient_x_input"),
        "attention_gradient": lambda: model(**inputs, attribution_method="attention_gradient"),
        "attention_last": lambda: model(**inputs, attribution_method="attention_last"),
    }


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Median, minimum and maximum over rounds of each call's time in units of the first one's."""
    for call in calls.values():
        call()
    ratios: dict[str, list[float]] = {name: [] for name in calls}
    unit = next(iter(calls))
    for _ in range(rounds):
        seconds = {}
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name] = time.perf_counter() - start
        for name in calls:
            ratios[name].append(seconds[name] / seconds[unit])
    return {n: {"median": statistics.median(r), "min": min(r), "max": max(r)} for n, r in ratios.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = resolve_backbone(arguments.backbone)
    model = AttribForSequenceClassification.from_backbone(source, num_labels=4).eval()
    report = {
        "machine": platform.processor() or platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "sizes": {},
    }
    with torch.inference_mode():
        for texts, tokens in tqdm(SIZES, desc="sizes"):
            ids = torch.randint(1000, 20000, (texts, tokens))
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            report["sizes"][f"{texts}x{tokens}"] = measure(contestants(model, inputs), arguments.rounds)
    names = list(next(iter(report["sizes"].values())))
    print("| texts × tokens | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for size, figures in report["sizes"].items():
        print(f"| {size} | " + " | ".join(f"{figures[n]['median']:.2f}" for n in names) + " |")
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
