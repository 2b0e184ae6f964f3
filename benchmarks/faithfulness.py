"""benchmarks/faithfulness.md from the folders that `attrib evaluate` left: how true each method is, set by set.

    python -m benchmarks.faithfulness "SST-2 dev"=outputs/faithfulness/sst2 "AG News"=outputs/faithfulness/agnews

What people wrote above the line `<!-- figures -->` stays; below it, every set gets the command that measured it, its
table and its picture. The figures themselves are copied to benchmarks/faithfulness/.
"""

import argparse
import json
import shlex
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from attrib_lab.data.sources import READERS
from attrib_lab.evaluation.evaluation import COSTS_FILE, STATE, EvaluationOptions
from attrib_lab.evaluation.evaluation_report import COST_PICTURE, markdown_table, plain_markdown
from attrib_lab.evaluation.samples import Columns
from attrib_lab.terminal.errors import UserError, run_command


REPORT = Path(__file__).parent / "faithfulness.md"
MARK = "<!-- figures -->"


def write_faithfulness(folders: dict[str, Path], report: Path = REPORT) -> None:
    """Write the part of `report` below its mark, and the figures beside it.

    Args:
        folders: title of a set -> `--output` of its `attrib evaluate`.

    Raises:
        UserError: for a folder without results, or a report without the mark.
    """
    written = report.read_text(encoding="utf-8") if report.is_file() else f"{MARK}\n"
    if MARK not in written:
        raise UserError(f"{report} has no line {MARK}: above it stands what people write.")
    figures = report.with_suffix("")
    figures.mkdir(exist_ok=True)
    parts = [written.partition(MARK)[0] + MARK]
    for title, folder in folders.items():
        if not (folder / "results.json").is_file():
            raise UserError(f"{folder} holds no results.json: run attrib evaluate to its end first.")
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        costs = json.loads((folder / STATE / COSTS_FILE).read_text(encoding="utf-8"))
        parts += [f"## {title}", _said(results), f"```bash\n{_command(results, folder.name)}\n```"]
        parts += [markdown_table(results, costs), *map(plain_markdown, results["notes"])]
        shutil.copy(folder / "results.csv", figures / f"{folder.name}.csv")
        if (folder / COST_PICTURE).is_file():
            shutil.copy(folder / COST_PICTURE, figures / f"{folder.name}.png")
            parts.append(f"![cost against faithfulness: {title}]({figures.name}/{folder.name}.png)")
    report.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _said(results: dict[str, Any]) -> str:
    accuracy = results["accuracy"]
    right = "" if accuracy is None else f", of which the model classifies {accuracy:.1%} rightly"
    return f"{results['texts']} texts{right}."


def _command(results: dict[str, Any], name: str) -> str:
    """The command behind a folder's results; files go by their names, since folders differ from machine to machine."""
    options, usual, source = results["options"], EvaluationOptions(), results["data"]
    data = Path(source).name if Path(source).suffix.lower() in READERS else source
    words = ["attrib", "evaluate", f"outputs/{results['model']}", "--data", data]
    words += _options(options["columns"], usual.columns) + _options(options, usual)
    return shlex.join([*words, "--output", f"outputs/faithfulness/{name}"])


def _options(given: dict[str, Any], usual: Columns | EvaluationOptions) -> list[str]:
    """Words of a command line for everything that is not as usual."""
    words = []
    for field in fields(usual):
        default = getattr(usual, field.name)
        value = given.get(field.name, default)  # a run before there was this option had its default
        value = tuple(value) if isinstance(value, list) else value
        if field.name == "columns" or value == default:
            continue
        if value is False:
            words.append(f"--no-{field.name.replace('_', '-')}")
        else:
            words += [f"--{field.name.replace('_', '-')}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="TITLE=FOLDER")
    folders = {}
    for given in parser.parse_args().sets:
        title, equals, folder = given.rpartition("=")
        if not equals:
            raise UserError(f"{given!r}: write TITLE=FOLDER.")
        folders[title] = Path(folder)
    write_faithfulness(folders)


if __name__ == "__main__":
    run_command(main)
