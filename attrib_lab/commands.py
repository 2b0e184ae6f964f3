"""The command `attrib`: one subcommand for each thing that is done with a trained model."""

import argparse
from pathlib import Path

from .concepts.command import run_analysis
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


def _concepts(arguments: argparse.Namespace) -> None:
    print(
        run_analysis(
            arguments.model_dir,
            concepts=arguments.concept,
            data=arguments.data,
            output=arguments.output,
            random=arguments.random,
            column=arguments.text,
            layer=arguments.layer,
            limit=arguments.limit,
            vectors=arguments.vectors,
            seed=arguments.seed,
        )
    )


def _add_concepts(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "concepts",
        help="say which classes a concept, given by example sentences, speaks for and against",
        description="Find concepts inside a trained model: attention-weighted concept activation vectors. A concept's "
        "value for a class is the share of texts whose logit for that class rises with the concept; 0.5 is chance.",
        epilog="example: attrib concepts outputs/ag_news --concept money=examples/concepts/money.txt "
        "--random examples/concepts/everyday.txt --data test.parquet --output concepts",
    )
    parser.add_argument("model_dir", help="what train.py left")
    parser.add_argument(
        "--concept",
        required=True,
        action="append",
        metavar="NAME=FILE",
        help="a concept and its example sentences: .txt, one a line, or rows with a column --text; repeatable",
    )
    parser.add_argument("--data", required=True, help="file of texts that the model is asked about")
    parser.add_argument(
        "--random",
        metavar="FILE",
        help="sentences about anything, of the concepts' length and style: what tells the two apart is taken for the "
        "concept (default: texts of --data that are not asked about)",
    )
    parser.add_argument("--text", default="text", help="the column that holds the texts of a file of rows")
    parser.add_argument("--layer", type=int, help="0 is the first (default: the last)")
    parser.add_argument("--limit", type=int, default=400, help="texts of --data to ask about, drawn with the seed")
    parser.add_argument("--vectors", type=int, default=50, help="vectors per concept, and random concepts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True, type=Path, help="folder for table, figures and picture")
    parser.set_defaults(run=_concepts)


def build_parser() -> argparse.ArgumentParser:
    """The parser of `attrib` and its subcommands."""
    parser = argparse.ArgumentParser(prog="attrib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_export(commands)
    _add_concepts(commands)
    return parser


def main() -> None:
    """Entry point of the command `attrib`."""
    arguments = build_parser().parse_args()
    run_command(lambda: arguments.run(arguments))
