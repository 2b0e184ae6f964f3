"""The command `attrib`: one subcommand for each thing that is done with a trained model."""

import argparse
from dataclasses import fields
from pathlib import Path

from .evaluation.metrics import METRICS, select_metrics
from .evaluation.options import DEFAULT_METRICS, KINDS, UNITS, Columns, EvaluationOptions
from .exporting.formats import FORMATS
from .serving.limits import DEFAULT_BATCH_TOKENS, Limits
from .terminal.arguments import CommandParser, RenamedOption, positive
from .terminal.errors import run_command


# What a subcommand does takes seconds to import: only after its arguments have been checked.


def _quiet_libraries() -> None:
    from .terminal.library_messages import quiet_libraries

    quiet_libraries()


def _explain(arguments: argparse.Namespace) -> None:
    from .explaining.explain import explain_texts

    _quiet_libraries()
    explain_texts(
        arguments.classifier,
        arguments.texts,
        file=arguments.file,
        column=arguments.text,
        as_json=arguments.json,
        html=arguments.html,
        target=arguments.target,
        contrast=arguments.contrast,
        method=arguments.method,
    )


def _add_explain(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "explain",
        help="show the words for and against a text's label, by any classifier",
        description="Show the words for and against a text's label. The classifier is a model of this project, or any "
        "sequence classifier of transformers, which is converted as it is read.",
        epilog='example: attrib explain outputs/demo "Stocks rally as oil falls" --contrast World',
    )
    parser.add_argument("classifier", help="a folder or a Hub id")
    parser.add_argument("texts", nargs="*", metavar="text", help="texts to explain (default: the lines of stdin)")
    parser.add_argument("--file", type=Path, help="texts to explain: .txt, one a line, or CSV, JSON lines or Parquet")
    parser.add_argument(
        "--text", default="text", help="the column that holds the texts of a file of rows (%(default)s)"
    )
    parser.add_argument("--target", help="the label to explain (the predicted one)")
    parser.add_argument("--contrast", help="a label: explain why the target, and not this one")
    parser.add_argument("--method", help="an attribution method (the model's own)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page of highlighted texts too")
    parser.set_defaults(run=_explain)


def _convert(arguments: argparse.Namespace) -> None:
    from .models.conversion import convert

    _quiet_libraries()
    labels = tuple(name.strip() for name in arguments.labels.split(",")) if arguments.labels else ()
    opened = convert(arguments.classifier, arguments.output, labels, arguments.overwrite)
    print(f"{opened.converted} explains itself now: {arguments.output} (the logits are the same)")


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="make a finished classifier explain itself, with the same logits",
        description="Write a finished classifier as a model of this project: the same weights, head and logits, and "
        "words for and against each label. push_to_hub.py publishes the folder.",
        epilog="example: attrib convert distilbert/distilbert-base-uncased-finetuned-sst-2-english --output sst2",
    )
    parser.add_argument(
        "classifier", help="folder or Hub id of a sequence classifier of transformers, or of an adapter"
    )
    parser.add_argument("--output", required=True, type=Path, help="folder for the model")
    parser.add_argument("--labels", help="names of an adapter's labels, in their order, separated by commas")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier model there")
    parser.set_defaults(run=_convert)


def _export(arguments: argparse.Namespace) -> None:
    from .data.sources import load_texts
    from .exporting.export import export_model

    _quiet_libraries()
    texts = load_texts(arguments.data, arguments.text, arguments.limit) if arguments.data else None
    file = export_model(
        arguments.model_dir, arguments.output, arguments.format, arguments.precision, texts, arguments.allow_loss
    )
    print(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        help="write label and words as one graph that needs no autograd: ONNX, torch.export or compiled",
        description="Write a trained model and its attribution method as one graph.",
        epilog="example: attrib export outputs/demo --format onnx --output exported",
    )
    parser.add_argument("model_dir", help="what train.py left")
    parser.add_argument(
        "--format",
        choices=list(FORMATS),
        default="onnx",
        help="onnx: any ONNX runtime; onnxruntime: that one alone, faster; pt2: torch.export; aoti: compiled for this "
        "machine's processor (%(default)s)",
    )
    parser.add_argument("--output", required=True, type=Path, help="folder for the graph, tokenizer and attrib.json")
    parser.add_argument(
        "--precision",
        choices=["fp32", "bf16", "int8"],
        default="fp32",
        help="int8 for onnx and onnxruntime, bf16 for the others; either needs --data (%(default)s)",
    )
    parser.add_argument("--data", help="real texts, as for evaluate, to measure what bf16 or int8 loses")
    parser.add_argument("--text", default="text", help="the column of --data that holds the texts (%(default)s)")
    parser.add_argument("--limit", type=int, default=500, help="texts of --data to measure with (%(default)s)")
    parser.add_argument("--allow-loss", action="store_true", help="keep a reduced precision whatever it loses")
    parser.set_defaults(run=_export)


def _evaluate(arguments: argparse.Namespace) -> None:
    columns = Columns(
        text=arguments.text,
        text_pair=arguments.text_pair,
        label=arguments.label,
        labels=tuple(name.strip() for name in arguments.labels.split(",")) if arguments.labels else (),
        rationale=arguments.rationale,
    )
    names = [name.name for name in fields(EvaluationOptions) if name.name != "columns"]
    options = EvaluationOptions(columns=columns, **{name: getattr(arguments, name) for name in names})
    select_metrics(options.metrics, columns.rationale)
    from .evaluation.evaluation import evaluate_model

    _quiet_libraries()
    evaluate_model(arguments.model_dir, arguments.data, arguments.output, options)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    default = EvaluationOptions()
    parser = commands.add_parser(
        "evaluate",
        help="measure how faithful, plausible and costly explanation methods are, with intervals and tests",
        description="Compare explanation methods on a model and a data set. A run that was killed goes on where it "
        "was; a run with more methods or metrics measures only those.",
        epilog="example: attrib evaluate outputs/demo --data newswire:200 --methods lrp,attention_last,random "
        "--output evaluated",
    )
    parser.add_argument("model_dir", type=Path, help="what train.py left, or any sequence classifier's folder")
    parser.add_argument("--data", required=True, help="CSV, JSON-lines or Parquet file, Hub id, or newswire:COUNT")
    parser.add_argument("--output", required=True, type=Path, help="folder for tables, pictures and the run's state")
    parser.add_argument(
        "--methods",
        default=default.methods,
        help="names, cheap (own methods under three forward passes), all (with captum's), plug-ins "
        "package.module:function, which take (model, batch) and return scores; separated by commas (%(default)s)",
    )
    parser.add_argument(
        "--metrics",
        help=f"names separated by commas ({','.join(DEFAULT_METRICS)}; with --rationale plausibility too); there are: "
        + ", ".join(METRICS),
    )
    parser.add_argument("--limit", type=int, help="number of texts, drawn at random (all)")
    parser.add_argument("--split", default=default.split, help="of a Hub data set (%(default)s)")
    parser.add_argument("--text", default="text", help="column of the texts: strings or lists of words (%(default)s)")
    parser.add_argument("--text-pair", help="column of each text's pair")
    parser.add_argument("--label", default="auto", help="column of the labels, or none (label, if there is one)")
    parser.add_argument("--labels", help="the data's names of the labels, in the order of the model's (the model's)")
    parser.add_argument("--rationale", help="column of what people marked: a 0 or 1 per word, or [start, end) spans")
    parser.add_argument(
        "--perturbation",
        choices=KINDS,
        default=default.perturbation,
        help="what stands for removed tokens, where the metric's definition does not say (%(default)s)",
    )
    parser.add_argument(
        "--removal",
        dest="perturbation",
        choices=KINDS,
        action=RenamedOption,
        metavar="--perturbation",
        default=default.perturbation,
        help=argparse.SUPPRESS,
    )
    parser.add_argument("--unit", choices=UNITS, default=default.unit, help="what is removed at once (%(default)s)")
    parser.add_argument("--budget", type=int, help="samples of LIME and KernelSHAP, steps of integrated gradients")
    parser.add_argument("--max-length", type=int, help="tokens read of each text (all that the model can read)")
    parser.add_argument(
        "--no-special-tokens",
        dest="special_tokens",
        action="store_false",
        help="leave [CLS] and [SEP] alone in AUAC and AU-MSE too, where they take part as published",
    )
    parser.add_argument("--batch-size", type=int, default=default.batch_size, help="texts at once (%(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of texts drawn and of samples (%(default)s)")
    parser.set_defaults(run=_evaluate)


def _concepts(arguments: argparse.Namespace) -> None:
    from .concepts.command import run_analysis

    _quiet_libraries()
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
    parser.add_argument(
        "--data",
        required=True,
        help="texts that the model is asked about, as for evaluate",
    )
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


def _serve(arguments: argparse.Namespace) -> None:
    from .serving.server import serve_model

    _quiet_libraries()
    serve_model(
        arguments.classifier,
        host=arguments.host,
        port=arguments.port,
        page=arguments.page,
        device=arguments.device,
        batch_tokens=arguments.batch_tokens,
        limits=Limits(arguments.max_bytes, arguments.max_texts, arguments.max_characters),
    )


def _add_serve(commands: argparse._SubParsersAction) -> None:
    default = Limits()
    parser = commands.add_parser(
        "serve",
        help="answer over HTTP: POST /explain, a page at /, an OpenAPI page at /docs",
        description="Serve a model over HTTP. Texts that wait at the same time are explained together.",
        epilog="example: attrib serve outputs/demo --port 8000",
    )
    parser.add_argument("classifier", help="a folder or a Hub id")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: everybody's (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (%(default)s)")
    parser.add_argument("--page", type=Path, help="a built page for / (examples/browser/dist, if it runs this model)")
    parser.add_argument("--device", default="cpu", help="where the model computes: cpu, cuda, cuda:1 (%(default)s)")
    parser.add_argument(
        "--batch-tokens",
        type=positive,
        default=DEFAULT_BATCH_TOKENS,
        help="texts × tokens that are explained at once (%(default)s)",
    )
    for name, what in (("bytes", "of a request"), ("texts", "in a request"), ("characters", "of a text")):
        parser.add_argument(
            f"--max-{name}", type=positive, default=getattr(default, name), help=f"{name} {what} (%(default)s)"
        )
    parser.set_defaults(run=_serve)


def build_parser() -> argparse.ArgumentParser:
    """The parser of `attrib` and its subcommands."""
    parser = CommandParser(prog="attrib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_explain(commands)
    _add_convert(commands)
    _add_evaluate(commands)
    _add_export(commands)
    _add_concepts(commands)
    _add_serve(commands)
    return parser


def main() -> None:
    """Entry point of the command `attrib`."""
    run_command(_main)


def _main() -> None:
    arguments = build_parser().parse_args()
    arguments.run(arguments)
