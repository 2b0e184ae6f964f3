"""Words that the makers of a text planted to carry its label, and how well explanations find them."""

from typing import Any

import numpy as np
from datasets import Dataset
from sklearn.metrics import average_precision_score

from modeling_attrib import AttribTextClassificationPipeline

from ..terminal.progress import Progress


def evidence_average_precision(attributions: list[dict[str, Any]], evidence: list[list[int]]) -> float:
    """Average precision of word scores against known evidence, for one text.

    Args:
        attributions: the pipeline's word entries.
        evidence: character spans [start, end); a word is evidence if it overlaps one.

    Returns:
        0 to 1; NaN where no word, or every word, is evidence (nothing can be ranked).
    """
    relevant = [any(a["start"] < end and start < a["end"] for start, end in evidence) for a in attributions]
    if not any(relevant) or all(relevant):
        return float("nan")
    return float(average_precision_score(relevant, [a["score"] for a in attributions]))


def has_evidence(rows: Dataset) -> bool:
    """Whether rows carry known evidence: a column `evidence` of [start, end] pairs."""
    if "evidence" not in rows.column_names or not len(rows):
        return False
    spans = rows[0]["evidence"]
    return isinstance(spans, list) and all(
        isinstance(span, list) and len(span) == 2 and all(isinstance(place, int) for place in span) for span in spans
    )


def compare_methods(
    pipe: AttribTextClassificationPipeline, rows: Dataset, text: str, label: str, methods: list[str]
) -> dict[str, float]:
    """Mean average precision per method over rows with `evidence` spans; the true label is explained.

    The true label, not the predicted one: the evidence is what carries it.
    """
    names = pipe.model.config.id2label
    precisions: dict[str, list[float]] = {method: [] for method in methods}
    with Progress(len(rows) * len(methods), "grading explanations", "texts") as progress:
        for index, name in names.items():
            texts = [row for row in rows if row[label] == index]
            for method in methods if texts else []:
                results = pipe((row[text] for row in texts), method=method, target=name, batch_size=16)
                for row, result in zip(texts, results):
                    precisions[method].append(evidence_average_precision(result["attributions"], row["evidence"]))
                    progress.advance()
    return {method: float(np.nanmean(values)) for method, values in precisions.items()}
