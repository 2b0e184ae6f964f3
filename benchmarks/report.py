"""The report on a benchmark run, one for each kind of processor: Markdown, JSON, a picture, and the index of them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib


matplotlib.use("Agg")
from matplotlib import pyplot

from .candidates import HERE, SLOW, UNIT
from .machine import machine_sentence
from .workload import LABELS


Row = dict[str, Any]

# Okabe and Ito's colours, told apart by people with any kind of colour vision, and four of Tol's.
COLOURS = [
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#332288", "#882255", "#999933", "#777777"),
]
STYLES = {"ours": ("-", 2.5), "forward": (":", 1.5), "external": ("--", 1.2)}
MARKERS = "osD^vP*X<>hp"
_WITHIN_REACH = 8  # F: what costs less is drawn on a scale of its own
# A candidate, and the plain forward pass by the same kernels.
SAME_KERNELS = {
    "ours": UNIT,
    "ours, lrp": UNIT,
    "ours, compiled": "forward, compiled",
    "ours, AOTInductor": "forward, compiled",
    "ours, AOTInductor bfloat16": "forward, compiled bfloat16",
    "ours, ONNX": "forward, ONNX",
    "ours, ONNX int8": "forward, ONNX int8",
    "ours, onnxruntime": "forward, ONNX",
    "ours, onnxruntime int8": "forward, ONNX int8",
    "ours, bfloat16": "forward, bfloat16",
}
_ABOUT = (
    'How to read it: "ours" is `AttribForSequenceClassification` called as ever, with the default method `damped_lrp`; '
    '"lrp" with that method; "all labels" asks for the attributions of every label at once; "compiled" is '
    '`compile_attributions()`, "AOTInductor", "ONNX" and "onnxruntime" are the files of `attrib export` '
    "(`aoti`, `onnx`, `onnxruntime`; the latter two run in onnxruntime, and the last has its fused attention), where "
    "bfloat16 and int8 stand for `--precision`. Above the backbone's own 512 positions its table "
    "of positions is repeated."
)


def write_report(report: dict[str, Any], folder: Path, slug: str) -> Path:
    """Write the report's JSON, Markdown and picture into `folder`, which is made if need be; return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{slug}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    picture = folder / f"{slug}.png"
    file = folder / f"{slug}.md"
    file.write_text(_markdown(report, picture.name if _draw(report, picture) else None), encoding="utf-8")
    return file


def write_index(folder: Path) -> None:
    """Write speed.md: what ours costs on each processor that has a report in `folder`/speed."""
    reports = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted((folder / "speed").glob("*.json"))}
    ranges = {slug: _ranges(report["rows"]) for slug, report in reports.items()}
    names = dict.fromkeys(name for own in ranges.values() for name in own)
    lines = [["", *(f"[{slug}](speed/{slug}.md)" for slug in reports)], ["---"] * (len(reports) + 1)]
    lines += [[name, *(own.get(name, "–") for own in ranges.values())] for name in names]
    parts = [
        "# What an explanation costs, by processor",
        f"Label and words, one thread, in {UNIT}, one plain float32 forward pass by transformers of the same "
        "classifier on the same texts, on that processor. Processor time, lowest and highest median over the sizes "
        "from 64 tokens to 2,048 and from one text to 32; each processor's own report has the sizes, the spread, the "
        "other libraries, and the forward passes by the same kernels.",
        "\n".join(f"| {' | '.join(line)} |" for line in lines),
        "\n".join(f"* {slug}: {machine_sentence(report['machine'])}" for slug, report in reports.items()),
    ]
    (folder / "speed.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _ranges(rows: list[Row]) -> dict[str, str]:
    """Candidate of this project -> its lowest and highest cost on one thread."""
    costs: dict[str, list[float]] = {}
    for row in rows:
        if row["role"] == "ours" and row["threads"] == 1 and "ratio" in row and row["tokens"] <= 2048:
            costs.setdefault(row["candidate"], []).append(row["cpu_ratio"]["median"])
    return {name: f"{min(own):.2f}–{max(own):.2f}" for name, own in costs.items()}


# Markdown -----------------------------------------------------------------------------------------------------------


def _markdown(report: dict[str, Any], picture: str | None) -> str:
    rows, settings = report["rows"], report["settings"]
    slow = f"{settings['slow_rounds']} for those over {SLOW} {UNIT}, which are measured at batch 1 only"
    parts = [
        f"# What an explanation costs: {report['machine']['processor']}",
        f"{UNIT} is one plain float32 forward pass by transformers of the same classifier ({settings['backbone']}, "
        f"mean pooling, a linear head with {LABELS} labels) on the same texts, without gradients. A candidate gives "
        "the label and the words that speak for it; a library that must be told the label gets it from a forward "
        f"pass, which counts. Candidates run in turn in {settings['rounds']} rounds ({slow}); a ratio to {UNIT} is "
        "taken within its round, by the same process. Tables say the median (lower–upper quartile). All texts of a "
        "batch are equally long.",
        report.get("about", _ABOUT),
        'They and "forward" run in the environment main; each library runs in an environment of versions that it '
        f"works with, named below, beside an {UNIT} of its own there. Compiled graphs and ONNX files run on other "
        f"kernels than {UNIT}: the last table of each number of threads divides by a forward pass on those, so that a "
        "win by a better kernel is not taken for a cheaper explanation. Made by `make bench-external` once and "
        f'`make bench ARGS="{settings["arguments"]}"`.',
        _circumstances(report),
    ]
    if picture:
        parts.append(f"![Cost against length]({picture})")
    for threads in sorted({row["threads"] for row in rows}):
        own = [row for row in rows if row["threads"] == threads]
        if not any("ratio" in row for row in own):
            continue
        heading = f"{threads} thread{'s' if threads > 1 else ''}"
        others = [row for row in own if row["candidate"] != UNIT]
        parts += [f"## {heading}: time on the clock, in {UNIT}", _table(others, lambda row: _spread(row["ratio"]))]
        parts += [f"## {heading}: processor time, in {UNIT}", _table(others, lambda row: _spread(row["cpu_ratio"]))]
        parts += [f"## {heading}: milliseconds", _table(own, lambda row: f"{1e3 * row['seconds']['median']:.4g}")]
        parts += [f"## {heading}: in forward passes by the same kernels", _same_kernels(own)]
    if any("memory" in row for row in rows):
        parts += ["## Peak memory of one call above what is resident before it, MB"]
        parts += [_table([r for r in rows if "memory" in r], lambda row: f"{row['memory'] / 1e6:.0f}", "memory")]
    if report.get("losses"):
        parts += ["## What smaller numbers lose, on real texts with a trained model", _losses(report["losses"])]
    parts += ["## Not measured", _reasons(rows)]
    return "\n\n".join(parts) + "\n"


def _circumstances(report: dict[str, Any]) -> str:
    packages = "; ".join(
        f"{environment}: {', '.join(f'{name} {number}' for name, number in versions.items())}"
        for environment, versions in report["versions"].items()
    )
    note = report["machine"].get("note")
    return f"{machine_sentence(report['machine'])}{f' {note}' if note else ''} Environments: {packages}."


def _losses(losses: list[Row]) -> str:
    lines = [["file", "precision", "method", "labels kept", "correlation", "worst text", "texts"], ["---"] * 7]
    for row in losses:
        loss = row["precision_loss"]
        figures = [f"{loss['labels_kept']:.2%}", *(f"{loss[n]:.4f}" for n in ("correlation", "lowest_correlation"))]
        lines.append([row["file"], row["precision"], row["attribution_method"], *figures, str(loss["texts"])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(figures: dict[str, float]) -> str:
    median, low, high = (figures[name] for name in ("median", "lower_quartile", "upper_quartile"))
    digits = 2 if median < 20 else 0
    return f"{median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def _table(rows: list[Row], cell: Any, measured: str = "ratio") -> str:
    """A line for each candidate, a column for each size; a dash where there is no figure."""
    rows = [row for row in rows if measured in row]
    sizes = sorted({(row["texts"], row["tokens"]) for row in rows})
    cells = {(_label(row), row["texts"], row["tokens"]): cell(row) for row in rows}
    lines = [["texts × tokens", *(f"{texts}×{tokens}" for texts, tokens in sizes)], ["---"] * (len(sizes) + 1)]
    for label in dict.fromkeys(_label(row) for row in rows):
        lines.append([label, *(cells.get((label, *size), "–") for size in sizes)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _label(row: Row) -> str:
    own = row["candidate"] == UNIT and row["environment"] != HERE
    return f"{UNIT} of environment {row['environment']}" if own else row["candidate"]


def _same_kernels(rows: list[Row]) -> str:
    """Ours over the plain forward pass that runs on the same kernels: what the explanation itself costs."""
    medians = {
        (row["candidate"], row["texts"], row["tokens"]): row["ratio"]["median"]
        for row in rows
        if row["environment"] == HERE and "ratio" in row
    }
    paired = []
    for (name, texts, tokens), median in medians.items():
        same = SAME_KERNELS.get(name)
        if (same, texts, tokens) in medians:
            own = median / medians[same, texts, tokens]
            paired.append({"candidate": f"{name} / {same}", "environment": HERE, "own": own})
            paired[-1] |= {"texts": texts, "tokens": tokens}
    return _table(paired, lambda row: f"{row['own']:.2f}", "own") if paired else "Nothing to compare."


def _reasons(rows: list[Row]) -> str:
    """Every candidate without a figure, with the reason and where it holds."""
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

    Two pictures above one another: candidates that sample or integrate, on a logarithmic scale, and those within
    reach of a prediction, on a linear one.
    """
    threads = min((row["threads"] for row in report["rows"]), default=1)
    rows = [r for r in report["rows"] if r["texts"] == 1 and r["threads"] == threads and "ratio" in r]
    lines: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["tokens"]):
        if row["candidate"] != UNIT:
            lines.setdefault(row["candidate"], []).append(row)
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
    drawn: Counter[str] = Counter()  # candidates of one role share a line style: they need colours of their own
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
