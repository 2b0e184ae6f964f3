"""The report on a benchmark run: Markdown, JSON, and a picture of cost against length."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib


matplotlib.use("Agg")
from matplotlib import pyplot

from .contestants import HERE, SLOW, UNIT
from .subjects import LABELS


Row = dict[str, Any]

# Okabe and Ito's colours, told apart by people with any kind of colour vision.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
STYLES = {"ours": ("-", 2.5), "forward": (":", 1.5), "peer": ("--", 1.2)}
MARKERS = "osD^vP*X<>hp"
_WITHIN_REACH = 8  # F: what costs less is drawn on a scale of its own
# A contestant, and the plain forward pass by the same kernels.
SAME_KERNELS = {
    "ours": UNIT,
    "ours, damped_lrp": UNIT,
    "ours, compiled": "forward, compiled",
    "ours, ONNX": "forward, ONNX",
} | {"ours, bfloat16": "forward, bfloat16"}


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write speed.json, speed.md and speed.png into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    drawn = _draw(report, folder / "speed.png")
    (folder / "speed.md").write_text(_markdown(report, drawn), encoding="utf-8")


# Markdown -----------------------------------------------------------------------------------------------------------


def _markdown(report: dict[str, Any], drawn: bool) -> str:
    rows, settings = report["rows"], report["settings"]
    slow = f"{settings['slow_rounds']} for those over {SLOW} {UNIT}, which are measured at batch 1 only"
    parts = [
        "# What an explanation costs",
        f"{UNIT} is one plain float32 forward pass by transformers of the same classifier ({settings['backbone']}, "
        f"mean pooling, a linear head with {LABELS} labels) on the same texts, without gradients. A contestant gives "
        "the label and the words that speak for it; a library that must be told the label gets it from a forward "
        f"pass, which counts. Contestants run in turn in {settings['rounds']} rounds ({slow}); a ratio to {UNIT} is "
        "taken within its round, by the same process. Tables say the median (lower–upper quartile). All texts of a "
        "batch are equally long.",
        'How to read it: "ours" is `AttribForSequenceClassification` with the method `lrp`, called as ever ("ours,'
        ' damped_lrp": with the default method); "all labels" asks for the attributions of every label at once; '
        '"compiled" is `compile_attributions()`, "ONNX" the file of `attrib export` in onnxruntime. They and "forward" '
        "run in the environment main; each "
        "library runs in an environment of versions that it works with, named below, beside an F of its own there. "
        "Compiled graphs and ONNX files run on other kernels than F: the last table of each number of threads divides "
        "by a forward pass on those, so that a win by a better kernel is not taken for a cheaper explanation. Made by "
        f'`make bench-peers` once and `make bench ARGS="{settings["arguments"]}"`.',
    ]
    limit = report["pretrained_up_to"]
    if any(row["tokens"] > limit for row in rows):
        parts.append(f"Above {limit} tokens the classifier has a longer position table and random weights.")
    parts.append(_machine(report))
    if drawn:
        parts.append("![Cost against length](speed.png)")
    for threads in sorted({row["threads"] for row in rows}):
        own = [row for row in rows if row["threads"] == threads]
        if not any("ratio" in row for row in own):
            continue
        heading = f"{threads} thread{'s' if threads > 1 else ''}"
        others = [row for row in own if row["contestant"] != UNIT]
        parts += [f"## {heading}: time on the clock, in {UNIT}", _table(others, lambda row: _spread(row["ratio"]))]
        parts += [f"## {heading}: processor time, in {UNIT}", _table(others, lambda row: _spread(row["cpu_ratio"]))]
        parts += [f"## {heading}: milliseconds", _table(own, lambda row: f"{1e3 * row['seconds']['median']:.4g}")]
        parts += [f"## {heading}: in forward passes by the same kernels", _same_kernels(own)]
    if any("memory" in row for row in rows):
        parts += ["## Peak memory of one call above what is resident before it, MB"]
        parts += [_table([r for r in rows if "memory" in r], lambda row: f"{row['memory'] / 1e6:.0f}", "memory")]
    parts += ["## Not measured", _reasons(rows)]
    return "\n\n".join(parts) + "\n"


def _machine(report: dict[str, Any]) -> str:
    machine = report["machine"]
    packages = "; ".join(
        f"{environment}: {', '.join(f'{name} {number}' for name, number in versions.items())}"
        for environment, versions in report["versions"].items()
    )
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['vector_instructions']}, Python "
        f"{machine['python']}, load {machine['load_at_start']} when it started. Environments: {packages}."
    )


def _spread(figures: dict[str, float]) -> str:
    median, low, high = (figures[name] for name in ("median", "lower_quartile", "upper_quartile"))
    digits = 2 if median < 20 else 0
    return f"{median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def _table(rows: list[Row], cell: Any, measured: str = "ratio") -> str:
    """A line for each contestant, a column for each size; a dash where there is no figure."""
    rows = [row for row in rows if measured in row]
    sizes = sorted({(row["texts"], row["tokens"]) for row in rows})
    cells = {(_label(row), row["texts"], row["tokens"]): cell(row) for row in rows}
    lines = [["texts × tokens", *(f"{texts}×{tokens}" for texts, tokens in sizes)], ["---"] * (len(sizes) + 1)]
    for label in dict.fromkeys(_label(row) for row in rows):
        lines.append([label, *(cells.get((label, *size), "–") for size in sizes)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _label(row: Row) -> str:
    own = row["contestant"] == UNIT and row["environment"] != HERE
    return f"{UNIT} of environment {row['environment']}" if own else row["contestant"]


def _same_kernels(rows: list[Row]) -> str:
    """Ours over the plain forward pass that runs on the same kernels: what the explanation itself costs."""
    medians = {
        (row["contestant"], row["texts"], row["tokens"]): row["ratio"]["median"]
        for row in rows
        if row["environment"] == HERE and "ratio" in row
    }
    paired = []
    for (name, texts, tokens), median in medians.items():
        same = SAME_KERNELS.get(name)
        if (same, texts, tokens) in medians:
            own = median / medians[same, texts, tokens]
            paired.append({"contestant": f"{name} / {same}", "environment": HERE, "own": own})
            paired[-1] |= {"texts": texts, "tokens": tokens}
    return _table(paired, lambda row: f"{row['own']:.2f}", "own") if paired else "Nothing to compare."


def _reasons(rows: list[Row]) -> str:
    """Every contestant without a figure, with the reason and where it holds."""
    where: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if "reason" in row:
            sizes = where.setdefault((_label(row), row["reason"]), [])
            sizes.append(f"{row['texts']}×{row['tokens']}")
    lines = [f"* {name}: {reason} ({', '.join(dict.fromkeys(at))})" for (name, reason), at in where.items()]
    return "\n".join(lines) or "Nothing was left out."


# Picture ------------------------------------------------------------------------------------------------------------


def _draw(report: dict[str, Any], file: Path) -> bool:
    """Cost of one text against its length, with the fewest threads; False if there is nothing to draw.

    Two pictures above one another: contestants that sample or integrate, on a logarithmic scale, and those within
    reach of a prediction, on a linear one.
    """
    threads = min(row["threads"] for row in report["rows"])
    rows = [r for r in report["rows"] if r["texts"] == 1 and r["threads"] == threads and "ratio" in r]
    lines: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["tokens"]):
        if row["contestant"] != UNIT:
            lines.setdefault(row["contestant"], []).append(row)
    if not lines:
        return False
    halves: tuple[dict[str, list[Row]], dict[str, list[Row]]] = ({}, {})
    for name, points in sorted(lines.items(), key=lambda line: -line[1][-1]["ratio"]["median"]):
        halves[max(point["ratio"]["median"] for point in points) <= _WITHIN_REACH][name] = points
    shown = [half for half in halves if half]
    figure, every = pyplot.subplots(
        len(shown), figsize=(11, 4.5 * len(shown)), layout="constrained", sharex=True, squeeze=False
    )
    for axes, half in zip(every[:, 0], shown):
        _draw_lines(axes, half)
        if half is halves[False]:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
        else:
            axes.axhline(1, color="black", linewidth=1.5, label=f"{UNIT}: plain forward pass")
            axes.set_ylim(0, None)
        axes.set_ylabel(f"cost in {UNIT}, plain forward passes")
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False)
    last = every[-1, 0]
    last.set_xscale("log", base=2)
    last.set_xticks(sorted({row["tokens"] for points in lines.values() for row in points}))
    last.minorticks_off()
    last.xaxis.set_major_formatter("{x:.0f}")
    last.set_xlabel("tokens of one text")
    figure.suptitle(f"Label and words: cost against length, batch 1, {threads} thread{'s' if threads > 1 else ''}")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
    return True


def _draw_lines(axes: Any, lines: dict[str, list[Row]]) -> None:
    drawn: Counter[str] = Counter()  # contestants of one role share a line style: they need colours of their own
    for name, points in lines.items():
        style, width = STYLES[points[0]["role"]]
        index = drawn[points[0]["role"]]
        drawn[points[0]["role"]] += 1
        ratios = [point["ratio"] for point in points]
        medians = [ratio["median"] for ratio in ratios]
        below = [ratio["median"] - ratio["lower_quartile"] for ratio in ratios]
        above = [ratio["upper_quartile"] - ratio["median"] for ratio in ratios]
        look = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "linestyle": style}
        tokens = [point["tokens"] for point in points]
        axes.errorbar(tokens, medians, (below, above), linewidth=width, markersize=5, capsize=2, label=name, **look)
