"""The command `attrib`: one subcommand for each thing that is done with a trained model."""

import argparse
from pathlib import Path

from .errors import run_command
from .exporting import FORMATS, export_model, load_texts


def _export(arguments: argparse.Namespace) -> None:
    texts = load_texts(arguments.data, arguments.text, arguments.limit) if arguments.data else None
    file = export_model(
        arguments.model_dir, arguments.output, arguments.format, arguments.precision, texts, arguments.allow_loss
    )
    print(f"wrote {file} ({file.stat().st_size / 1e6:.0f} MB)")


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        help="write label and words as one graph that needs no autograd: ONNX, torch.export or compiled",
        description="Write a trained model and its attribution method as one graph.",
        epilog="example: attrib export outputs/demo --format onnx --output exported",
    )
    parser.add_argument("model_dir", help="what train.py left")
    parser.add_argument("--format", choices=list(FORMATS), default="onnx")
    parser.add_argument("--output", required=True, type=Path, help="folder for the graph, tokenizer and attrib.json")
    parser.add_argument("--precision", choices=["fp32", "bf16", "int8"], default="fp32")
    parser.add_argument("--data", help="file with real texts, to measure what bf16 or int8 loses")
    parser.add_argument("--text", default="text", help="the column of --data that holds the texts")
    parser.add_argument("--limit", type=int, default=500, help="texts of --data to measure with")
    parser.add_argument("--allow-loss", action="store_true", help="keep a reduced precision whatever it loses")
    parser.set_defaults(run=_export)


def build_parser() -> argparse.ArgumentParser:
    """The parser of `attrib` and its subcommands."""
    parser = argparse.ArgumentParser(prog="attrib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_export(commands)
    return parser


def main() -> None:
    """Entry point of the command `attrib`."""
    arguments = build_parser().parse_args()
    run_command(lambda: arguments.run(arguments))
