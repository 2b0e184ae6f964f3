"""What a person sees of a run of the HF Trainer: one bar, and one line in plain words on each evaluation."""

from pathlib import Path
from typing import Any

from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers import TrainerControl as Control
from transformers import TrainerState as State
from transformers import TrainingArguments as Arguments
from transformers.trainer_utils import has_length

from ..data.sources import Splits
from ..terminal.progress import Progress, say


_NAMED = 8  # labels


def show_progress(trainer: Trainer) -> Trainer:
    """The trainer, with `TrainingProgress` in place of the Trainer's bars and dictionaries."""
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(TrainingProgress)
    return trainer


class TrainingProgress(TrainerCallback):
    """A bar over the steps of training, lines on evaluations, and a bar over what is evaluated afterwards.

    It has the last step's loss logged as well, so that a run has a loss to show however few steps it takes; and the
    loss at each checkpoint, so that a run that goes on from there knows all that was lost before.
    """

    def __init__(self) -> None:
        self._runs = False
        self._training: Progress | None = None
        self._predicting: Progress | None = None
        self._predicted = 0
        self._loss: float | None = None

    def on_train_begin(self, args: Arguments, state: State, control: Control, **_: Any) -> None:
        """Open the bar, where an earlier run ended if there was one."""
        self._runs = True
        if state.is_world_process_zero and not args.disable_tqdm:
            self._training = Progress(state.max_steps, "training", "steps", done=state.global_step)

    def on_step_end(self, args: Arguments, state: State, control: Control, **_: Any) -> None:
        """Move the bar."""
        if self._training is not None:
            self._training.advance(state.global_step - self._training.done)
        if state.global_step >= state.max_steps or control.should_save:
            self._log(args, control)

    def on_epoch_end(self, args: Arguments, state: State, control: Control, **_: Any) -> None:
        """Have a checkpoint's loss logged."""
        if control.should_save:
            self._log(args, control)

    def on_log(
        self, args: Arguments, state: State, control: Control, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Show the loss of the steps since the last log."""
        if "loss" in (logs or {}):
            self._loss = logs["loss"]
            if self._training is not None:
                self._training.note(f"loss {self._loss:.3f}")

    def on_prediction_step(
        self, args: Arguments, state: State, control: Control, eval_dataloader: Any = None, **_: Any
    ) -> None:
        """Say how far an evaluation is: behind the steps while training, with a bar of its own afterwards."""
        if not state.is_world_process_zero or args.disable_tqdm or not has_length(eval_dataloader):
            return
        self._predicted += 1
        if self._training is not None:
            self._training.note(f"evaluating {self._predicted} of {len(eval_dataloader)}")
            return
        if self._predicting is None:
            self._predicting = Progress(len(eval_dataloader), "predicting", "batches")
        self._predicting.advance()

    def on_evaluate(self, args: Arguments, state: State, control: Control, metrics: dict[str, float], **_: Any) -> None:
        """One line while training; what is graded afterwards is reported with the finished model."""
        self._end_prediction()
        if self._runs and state.is_world_process_zero:
            say(describe_evaluation(state, metrics, self._loss))

    def on_predict(self, args: Arguments, state: State, control: Control, **_: Any) -> None:
        """Close the bar."""
        self._end_prediction()

    def on_train_end(self, args: Arguments, state: State, control: Control, **_: Any) -> None:
        """Close the bar, and say which of the evaluated models is kept."""
        self._runs = False
        if self._training is not None:
            self._training.close()
            self._training = None
        if state.is_world_process_zero and 0 < state.global_step < state.max_steps:
            say(f"stopped at step {state.global_step} of {state.max_steps}: the validation got no better any more")
        # The best step may have no checkpoint, where evaluations outnumber them: then the last model is kept.
        if state.is_world_process_zero and args.load_best_model_at_end and state.best_model_checkpoint:
            step = Path(state.best_model_checkpoint).name.rpartition("-")[2]
            metric = (args.metric_for_best_model or "loss").removeprefix("eval_")
            say(f"kept: the model of step {step}, of the best validation {metric}")

    def _log(self, args: Arguments, control: Control) -> None:
        if args.logging_strategy != "no":
            control.should_log = True

    def _end_prediction(self) -> None:
        self._predicted = 0
        if self._predicting is not None:
            self._predicting.close()
            self._predicting = None
        if self._training is not None:
            self._training.note("" if self._loss is None else f"loss {self._loss:.3f}")


def describe_data(splits: Splits) -> str:
    """The rows and labels of a run, in a line."""
    test = "" if splits.test is None else f", {len(splits.test):,} to test it on"
    names = ", ".join(splits.labels[:_NAMED]) + (" ..." if len(splits.labels) > _NAMED else "")
    return (
        f"data: {len(splits.train):,} rows to train on, {len(splits.validation):,} to validate it on{test}; "
        f"{len(splits.labels)} labels: {names}"
    )


def mean_training_loss(history: list[dict[str, Any]]) -> float | None:
    """Mean loss over the steps of a run, those before it was cut off included; None if losses were not logged.

    Args:
        history: the Trainer's log; "loss" is the mean over the steps since it was logged before.
    """
    total = last = 0
    for entry in history:
        if "loss" in entry:
            total += entry["loss"] * (entry["step"] - last)
            last = entry["step"]
    return total / last if last else None


def describe_evaluation(state: State, metrics: dict[str, float], training_loss: float | None) -> str:
    """An evaluation while training: where it was, and what it found.

    Args:
        metrics: "eval_loss", "eval_accuracy" and "eval_macro_f1".
        training_loss: mean over the steps since it was logged before; None if it never was.
    """
    found = {
        "training loss": training_loss,
        "validation loss": metrics.get("eval_loss"),
        "accuracy": metrics.get("eval_accuracy"),
        "macro F1": metrics.get("eval_macro_f1"),
    }
    figures = ", ".join(f"{name} {value:.3f}" for name, value in found.items() if value is not None)
    return f"step {state.global_step} of {state.max_steps} (epoch {state.epoch:.3g}): {figures}"
