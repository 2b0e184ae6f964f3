"""`attrib concepts`: from files to a report on the concepts in a trained model."""

from pathlib import Path

import numpy as np

from ..models.model_folder import load_trained_model
from ..storage.folders import locked, replacing
from ..terminal.errors import UserError
from .activations import LayerReader
from .analysis import analyse_concepts
from .report import PICTURE_FILE, write_report
from .sentences import read_sentences


RANDOM_SENTENCES = 500  # of --data, where no file of random sentences is given

_KIND = "an analysis of concepts"


def run_analysis(
    model_dir: str,
    concepts: list[str],
    data: str,
    output: Path,
    random: str | None = None,
    column: str = "text",
    layer: int | None = None,
    limit: int = 400,
    vectors: int = 50,
    seed: int = 0,
) -> str:
    """Analyse concepts in a trained model and write the report.

    Args:
        model_dir: what `train.py` left.
        concepts: `name=file` each.
        data: source of texts, as for training, that the model is asked about.
        output: folder for the report.
        random: source of random sentences; by default texts of `data` that are not asked about.
        column: of sources of rows.
        layer: of the model; by default the last.
        limit: texts of `data` to ask about.
        vectors: per concept.
        seed: of all draws.

    Returns:
        The table, and where the picture is.

    Raises:
        UserError: for anything that cannot be used.
    """
    if limit < 1:
        raise UserError(f"--limit {limit}: ask about one text at least.")
    if seed < 0:
        raise UserError(f"--seed {seed}: a seed is a whole number from 0 on.")
    files = _parse_concepts(concepts)
    sentences = {name: read_sentences(file, column, seed) for name, file in files.items()}
    texts = read_sentences(data, column, seed)
    texts = [texts[index] for index in np.random.default_rng(seed).permutation(len(texts))]
    others = read_sentences(random, column, seed) if random else texts[limit : limit + RANDOM_SENTENCES]
    with locked(output, _KIND):
        trained = load_trained_model(Path(model_dir))
        count = trained.model.num_layers
        layer = count - 1 if layer is None else layer
        if not 0 <= layer < count:
            raise UserError(f"--layer {layer}: this model has layers 0 to {count - 1}.")
        reader = LayerReader(trained.model, trained.tokenizer, layer)
        results = analyse_concepts(reader, sentences, others, texts[:limit], vectors, seed)
        settings = {
            "layer": layer,
            "texts": len(texts[:limit]),
            "random_sentences": len(others),
            "vectors": vectors,
            "seed": seed,
        }
        with replacing(output, _KIND) as new:
            table = write_report(results, settings, new)
    return f"{table}\npicture: {output / PICTURE_FILE}"


def _parse_concepts(concepts: list[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for concept in concepts:
        name, equals, file = concept.partition("=")
        if not equals or not name.strip() or not file:
            raise UserError(f"--concept {concept!r}: concepts are written name=file.")
        if name in files:
            raise UserError(f"--concept {name!r} is given twice.")
        files[name] = file
    return files
