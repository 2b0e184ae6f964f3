"""Every key of a recipe, from the classes that declare them: ours, and transformers' `TrainingArguments`."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from .declarations import Key, declared_keys, declared_values, decorated_names, package_folder


_SECTIONS = Path(__file__).with_name("recipe.py")
_HUB_CODE = package_folder("modeling_attrib")
_CONFIGURATION = _HUB_CODE / "configuration_attrib.py"
_TRAINING_ARGUMENTS = package_folder("transformers") / "training_args.py"
_ENUMERATIONS = (_TRAINING_ARGUMENTS, _TRAINING_ARGUMENTS.with_name("trainer_utils.py"))

# What this project asks of the Trainer where a recipe does not say.
TRAINING_DEFAULTS: dict[str, Any] = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "accuracy",
    "logging_steps": 0.02,  # a share of the run: fifty points make a curve, and a short run has some too
    "report_to": "none",
    "train_sampling_strategy": "group_by_length",
}

# What `training/classifier.py` decides: where, from what draw, and what the Trainer hands back.
SET_HERE = (
    "output_dir",
    "seed",
    "data_seed",
    "label_names",
    "remove_unused_columns",
    "prediction_loss_only",
    "batch_eval_metrics",
    "eval_do_concat_batches",
)
_METHODS = decorated_names(_HUB_CODE, "attribution_method")
_CHOICES: dict[str, tuple[Any, ...]] = {
    "pooling": declared_values(_CONFIGURATION, "POOLINGS"),
    "feature_adjustment": declared_values(_CONFIGURATION, "FEATURE_ADJUSTMENTS"),
    "reads": declared_values(_CONFIGURATION, "HEAD_INPUTS"),
    "attribution_method": _METHODS,
    "bf16": ("auto", True, False),
}


_SECRET = re.compile(r"(.*_)?((hub|hf|auth|access|api|bearer)_token|password|secret|api_key)|token")


def is_secret(name: str) -> bool:
    """Whether a key of that name holds what must never reach a file, as a recipe's values do."""
    return _SECRET.fullmatch(name.lower().replace("-", "_")) is not None


def _with_choices(keys: dict[str, Key]) -> dict[str, Key]:
    found = {}
    for name, key in keys.items():
        choices = _CHOICES.get(name, ())
        for word in re.findall(r"[A-Z]\w+", key.kind):
            for file in _ENUMERATIONS:
                choices = choices or declared_values(file, word)
        found[name] = replace(key, choices=choices)
    return found


def _own_keys(section: str) -> dict[str, Key]:
    return _with_choices(declared_keys(_SECTIONS, section))


def _without(keys: dict[str, Key], *names: str) -> dict[str, Key]:
    return {name: key for name, key in keys.items() if name not in names}


def _training_keys() -> dict[str, Key]:
    declared = declared_keys(_TRAINING_ARGUMENTS, "TrainingArguments")
    keys = _with_choices(_without(declared, *SET_HERE, *filter(is_secret, declared)))
    meaning = "mixed precision in bfloat16, which halves memory; auto where the device computes in it"
    return keys | {"bf16": replace(keys["bf16"], meaning=meaning)}


TOP_KEYS = _own_keys("Recipe")
TASK_KEYS = _own_keys("TaskSection")
# Arguments of `AttribConfig`, but for the explaining head's, which comes with its own training, and those that a
# finished classifier brings along.
MODEL_ARGUMENTS = _with_choices(
    _without(
        declared_keys(_CONFIGURATION, "AttribConfig"),
        *("backbone_config", "classifier_head", "attribution_head", "attribution_head_reads"),
    )
) | {"problem_type": Key("problem_type", "str | None", None, "kind of the task, as transformers calls it")}
SECTIONS: dict[str, dict[str, Key]] = {
    "model": _without(_own_keys("ModelSection"), "config") | MODEL_ARGUMENTS,
    "data": _own_keys("DataSection"),
    "training": _training_keys(),
    "explainer": _own_keys("ExplainerSection"),
}
# An explainer's recipe takes a finished classifier and fits a small head: little is left to choose.
EXPLAINER_KEYS = {
    "model": ["backbone", "max_length", "attribution_method"],
    "training": ["num_train_epochs", "learning_rate"],
}
