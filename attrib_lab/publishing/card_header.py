"""The YAML header of a model card, by which the Hub finds, sorts and compares models."""

from huggingface_hub import EvalResult, ModelCardData

from .card_facts import FIGURES, CardFacts


TAGS = ["attributions", "explainability", "interpretability", "feature-attribution"]


def header(facts: CardFacts) -> str:
    """The header without its dashes; keys whose value is not known are left out."""
    trained_on = facts.trained_on
    data = ModelCardData(
        language=facts.language,
        license=facts.license_id,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=list(TAGS),
        base_model=facts.original_of,
        datasets=[trained_on.hub_id] if trained_on and trained_on.hub_id else None,
        metrics=[FIGURES[name][1] for name in facts.figures] or None,
        model_name=facts.name,
        eval_results=_eval_results(facts),
    )
    return data.to_yaml()


def _eval_results(facts: CardFacts) -> list[EvalResult] | None:
    measured_on = facts.measured_on
    if measured_on is None:
        return None
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Text Classification",
            dataset_type=measured_on.hub_id or "other",
            dataset_name=" ".join(measured_on.name.split()),
            dataset_config=measured_on.config,
            dataset_split=measured_on.split if facts.split == "test" else None,
            metric_type=FIGURES[figure][1],
            metric_name=FIGURES[figure][0],
            metric_value=value,
        )
        for figure, value in facts.figures.items()
    ]
