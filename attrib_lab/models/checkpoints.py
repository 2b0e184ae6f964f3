"""Checkpoints of a run: each is marked once it is complete, and only such a one is gone on from."""

import json
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..storage.folders import discard
from ..storage.manifests import is_complete, write_manifest


_KIND = "a checkpoint"


class CheckpointMarker(TrainerCallback):
    """Marks each checkpoint of the Trainer when all of its files, every process's, are on the disk."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Mark the checkpoint of this step."""
        PartialState().wait_for_everyone()  # each process writes its own generators' states there
        if state.is_world_process_zero:
            mark_checkpoint(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


def mark_checkpoint(checkpoint: Path) -> None:
    """Say of a checkpoint that it is complete."""
    write_manifest(checkpoint, _KIND)


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Checkpoints in a folder, complete or not, the newest first; none if there is no such folder."""
    found = {path: path.name.rpartition("-")[2] for path in checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*")}
    return sorted((path for path, step in found.items() if step.isdigit()), key=lambda p: int(found[p]), reverse=True)


def newest_complete(checkpoints: Path, folder: Path) -> Path | None:
    """The checkpoint to go on from; what a run that was killed, or had no space left, wrote after it is dropped.

    A checkpoint whose best model so far is not complete is none to go on from: the run would end with another model.

    Args:
        checkpoints: where they are.
        folder: the run's, which is `locked`.
    """
    found = list_checkpoints(checkpoints)
    complete = {path.name for path in found if is_complete(path)}
    usable = [path for path in found if path.name in complete and _best(path) in complete | {None}]
    newest = usable[0] if usable else None
    dropped = found[: found.index(newest)] if newest else found
    dropped += [path for path in found if path.name not in complete and path not in dropped]
    for path in dropped:
        discard(path, folder)
    if dropped:
        print(f"dropped, not written to the end: {', '.join(path.name for path in dropped)}")
    return newest


def _best(checkpoint: Path) -> str | None:
    """The name of the checkpoint with the best model when this one was written, if there was any."""
    best = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8")).get("best_model_checkpoint")
    return Path(best).name if best else None
