"""From a recipe with an `explainer` to a model folder whose classifier has a trained ExpNet head."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from modeling_attrib import AttribForSequenceClassification, list_attribution_methods
from modeling_attrib.attribution_methods import get_attribution_method
from modeling_attrib.expnet import ExpNet, build_expnet

from ..data.sources import complete_rows, load_rows
from ..evaluation.texts import EncodedText, encode_rows
from ..models.lengths import check_max_length
from ..models.model_folder import (
    EXPLAINER_RECIPE_FILE,
    TrainedModel,
    load_trained_model,
    save_model,
    write_metrics,
    write_recipe,
)
from ..models.output_folder import claimed_folder, finished_model
from ..recipes.recipe import Recipe
from ..terminal.errors import UserError, nearest
from ..training.devices import started_processes
from .distillation import grade_faithfulness, teacher_targets
from .fitting import HeadExamples, balanced_cross_entropy, fit_head, gather_examples, head_scores
from .rationales import (
    BASELINES,
    RationaleTask,
    attributions,
    choose_threshold,
    grade,
    load_task,
    marked_texts,
    mean_average_precision,
    rationale_targets,
    standardise,
)


_EPOCHS, _LEARNING_RATE = 40, 2e-3
_INPUT_DROPOUT = 0.5  # for heads that serve another classifier than they learnt from


def train_explainer(recipe: Recipe, overwrite: bool = False) -> Path:
    """Train the head that the recipe describes; the classifier under it stays as it is.

    Writes to `recipe.output_dir` the classifier with its head, `metrics.json` (the classifier's own, and what the head
    was graded at under "expnet"), the classifier's `recipe.yaml` and the head's, `expnet.yaml`.

    Args:
        recipe: what to learn from, for which classifier, and where to leave both.
        overwrite: replace what another recipe left in `recipe.output_dir`.

    Returns:
        The model folder.

    Raises:
        UserError: for a folder without a classifier, data that cannot be used, a folder that holds what another recipe
            left, or several processes.
    """
    if started_processes(os.environ) > 1:
        raise UserError("an explanation head is trained by one process: start train.py without torchrun.")
    folder = Path(recipe.output_dir)
    if folder.resolve() == Path(recipe.model.backbone).resolve():
        raise UserError(f"output_dir {folder} is the classifier's own folder: choose another.")
    with claimed_folder(recipe, overwrite):
        trained = load_trained_model(Path(recipe.model.backbone))
        figures = _train_head(recipe, trained)
        with finished_model(recipe) as new:
            save_model(new, trained.model, trained.tokenizer, trained.recipe)
            write_metrics(new, trained.metrics | {"expnet": figures})
            write_recipe(new / EXPLAINER_RECIPE_FILE, recipe.as_dict())
    print(f"model: {folder}")
    return folder


def _train_head(recipe: Recipe, trained: TrainedModel) -> dict[str, Any]:
    """Give the classifier the head that the recipe describes; what it was graded at."""
    check_max_length(recipe.model.max_length, trained.model, trained.tokenizer)
    config = trained.model.config
    method = recipe.model.config.get("attribution_method", config.attribution_method)
    try:
        get_attribution_method(method)
    except ValueError as error:
        raise UserError(str(error)) from None
    learn = _learn_rationales if recipe.explainer.learns_from == "rationales" else _learn_from_teacher
    figures = learn(recipe, trained)
    config.attribution_method = method
    return figures


# A teacher ----------------------------------------------------------------------------------------------------------


def _learn_from_teacher(recipe: Recipe, trained: TrainedModel) -> dict[str, Any]:
    """Add to the classifier a head that gives a slower method's scores; what it keeps of that method's faithfulness."""
    teacher, data, model = recipe.explainer.learns_from, recipe.data, trained.model
    known = [entry["name"] for entry in list_attribution_methods() if entry["name"] not in ("expnet", "random")]
    if teacher not in known:
        raise UserError(
            f"explainer.learns_from={teacher!r}: use rationales or an attribution method: {', '.join(known)}."
            + nearest(teacher, [*known, "rationales"])
        )
    test = _draw(_read_texts(data.test, "test", recipe, trained), data.test_rows, recipe.seed)
    sources = {text.source for text in test}
    learned = [text for text in _read_texts(data.train, "train", recipe, trained) if text.source not in sources]
    learned = _draw(learned, data.train_rows, recipe.seed)
    held_out = max(1, round(len(learned) * data.validation_fraction))
    if held_out >= len(learned):
        raise UserError(f"{data.train}: {len(learned)} texts are too few to learn from.")
    print(f"the head learns from {teacher}: {len(learned) - held_out} texts, {held_out} to grade it by.")
    head = _fresh_head(model, "labels", recipe)
    targets = teacher_targets(model, teacher)
    train, validation = (
        gather_examples(model, trained.tokenizer, texts, targets, f"{teacher} of {len(texts)} texts")
        for texts in (learned[held_out:], learned[:held_out])
    )

    def score(head: ExpNet) -> float:
        with torch.no_grad():
            return -F.mse_loss(head(validation.features.float()), validation.targets).item()

    history = fit_head(
        head,
        [train],
        F.mse_loss,
        score=score,
        describe=lambda value: f"squared error {-value:.4f}",
        **_settings(recipe),
    )
    found = grade_faithfulness(model, trained.tokenizer, test, [teacher, "expnet", "random"])
    figures = {
        "learns_from": teacher,
        "texts": {"train": len(learned) - held_out, "validation": held_out, "test": len(test)},
        "validation_error": -max(history),
        "comprehensiveness": found,
        "share_of_teacher": found["expnet"] / found[teacher],
        "share_of_teacher_above_random": (found["expnet"] - found["random"]) / (found[teacher] - found["random"]),
    }
    print("comprehensiveness: " + ", ".join(f"{method} {value:.4f}" for method, value in found.items()))
    print(f"expnet keeps {figures['share_of_teacher']:.1%} of its teacher's ({len(test)} texts)")
    return figures


def _read_texts(source: str, split: str, recipe: Recipe, trained: TrainedModel) -> list[EncodedText]:
    data = recipe.data
    texts = [data.text, data.text_pair] if data.text_pair else [data.text]
    rows = load_rows(source, split, recipe.seed + (split == "test"), texts)
    rows = rows.select(complete_rows(rows, texts, source))  # unlabelled, so that texts are all that a row needs
    columns = {"text": data.text, "text_pair": data.text_pair}
    return encode_rows(rows, trained.tokenizer, **columns, max_length=recipe.model.max_length)


def _draw(texts: list[EncodedText], count: int | None, seed: int) -> list[EncodedText]:
    order = np.random.default_rng(seed).permutation(len(texts))
    return [texts[number] for number in order[:count]]


# People -------------------------------------------------------------------------------------------------------------


def _learn_rationales(recipe: Recipe, trained: TrainedModel) -> dict[str, Any]:
    """Add to the classifier a head that finds what people mark; how well it does in a task that it has never seen."""
    model = trained.model
    tasks = [load_task(section, recipe.model.max_length, recipe.seed) for section in recipe.explainer.tasks]
    test = _read_marked_texts(recipe, trained)
    head = _fresh_head(model, "importance", recipe)
    for task in tasks:
        task.model.config.attribution_head_reads = recipe.explainer.reads
    parts, held_out = (
        [
            gather_examples(task.model, task.tokenizer, getattr(task, split), rationale_targets, task.name)
            for task in tasks
        ]
        for split in ("train", "validation")
    )
    for task, part in zip(tasks, parts):
        if part.features.shape[1] != head.hidden.in_features:
            raise UserError(f"{task.name} has another number of layers or heads than {recipe.model.backbone}.")
    epochs = _fit_across_tasks(head, model, tasks, parts, held_out, recipe)
    threshold = choose_threshold(
        [(_importance(head, examples), task.validation) for task, examples in zip(tasks, held_out)]
    )
    with torch.no_grad():
        head.score.bias -= threshold  # positive scores are what people would mark
    found = _grade_on_marks(trained, tasks, test)
    print("token F1 on a task that the head has never seen, thresholds from the others:")
    for method, figures in found.items():
        print(f"  {method:20} {figures['token_f1']:.4f}   average precision {figures['average_precision']:.4f}")
    return {
        "learns_from": "rationales",
        "texts": {"train": [len(task.train) for task in tasks], "test": len(test)},
        "epochs": epochs,
        "threshold": threshold,
        "rationales": found,
    }


def _read_marked_texts(recipe: Recipe, trained: TrainedModel) -> list[EncodedText]:
    """The test texts in which people marked something."""
    explainer, data = recipe.explainer, recipe.data
    rows = load_rows(data.test, "test", recipe.seed + 1, [data.text], [explainer.rationale])
    rows = rows.select(complete_rows(rows, [data.text], data.test))
    columns = {"text": data.text, "rationale": explainer.rationale}
    test = marked_texts(rows, trained.tokenizer, max_length=recipe.model.max_length, **columns)
    if not test:
        raise UserError(f"{data.test}: nothing is marked in {explainer.rationale!r}.")
    return test


def _grade_on_marks(
    trained: TrainedModel, tasks: Sequence[RationaleTask], test: Sequence[EncodedText]
) -> dict[str, dict[str, float]]:
    """How well the head, other methods and marking every token find people's marks; thresholds are from the tasks."""
    model = trained.model
    found = {"expnet": grade(attributions(model, trained.tokenizer, test, "expnet"), test, 0.0)}
    for method in dict.fromkeys((model.config.attribution_method, *BASELINES)):
        known = [
            (
                standardise(attributions(task.model, task.tokenizer, task.validation, method), task.validation),
                task.validation,
            )
            for task in tasks
        ]
        scores = standardise(attributions(model, trained.tokenizer, test, method), test)
        found[method] = grade(scores, test, choose_threshold(known))
    found["every token"] = grade([np.ones(len(text.ids)) for text in test], test, 0.5)
    return found


def _fit_across_tasks(
    head: ExpNet,
    model: AttribForSequenceClassification,
    tasks: Sequence[RationaleTask],
    parts: Sequence[HeadExamples],
    held_out: Sequence[HeadExamples],
    recipe: Recipe,
) -> int:
    """Train on all tasks for as many epochs as serve a task that was left out, each in turn; that number.

    The longer a head learns, the better it knows its own tasks, and the worse another one: what it takes from a few
    attention heads of these classifiers does not hold elsewhere. A single task is left to its own validation texts.
    """
    settings = _settings(recipe) | {"input_dropout": _INPUT_DROPOUT}

    def fit(into: ExpNet, learned: Sequence[int], graded: int | None, stop: int | None = None) -> list[float]:
        def score(candidate: ExpNet) -> float:
            return mean_average_precision(_importance(candidate, held_out[graded]), tasks[graded].validation)

        def describe(value: float) -> str:
            return f"finds what is marked in {tasks[graded].name} with average precision {value:.4f}"

        chosen = [parts[number] for number in learned]
        grading = None if graded is None else score
        loss = balanced_cross_entropy(chosen)
        return fit_head(into, chosen, loss, score=grading, describe=describe, stop=stop, **settings)

    everything = range(len(tasks))
    if len(tasks) == 1:
        curve = fit(head, everything, 0)
        return int(np.argmax(curve)) + 1
    curves = [
        fit(build_expnet(model.config), [other for other in everything if other != number], number)
        for number in everything
    ]
    epochs = int(np.argmax(np.mean(curves, axis=0))) + 1
    fit(head, everything, None, stop=epochs)
    return epochs


def _importance(head: ExpNet, examples: HeadExamples) -> list[np.ndarray]:
    return [scores[:, 0].astype(np.float64) for scores in head_scores(head, examples)]


# Both ---------------------------------------------------------------------------------------------------------------


def _fresh_head(model: AttribForSequenceClassification, kind: str, recipe: Recipe) -> ExpNet:
    model.config.attribution_head, model.config.attribution_head_reads = kind, recipe.explainer.reads
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model.expnet = build_expnet(model.config)
    return model.expnet


def _settings(recipe: Recipe) -> dict[str, Any]:
    return {
        "epochs": recipe.training.get("num_train_epochs", _EPOCHS),
        "learning_rate": recipe.training.get("learning_rate", _LEARNING_RATE),
        "seed": recipe.seed,
    }
