"""What libraries say while a command runs: bars and reports that ask nothing of a user go, warnings come through."""

import contextlib
import logging
import warnings

from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from transformers.utils import logging as transformers_logging


# Statuses in transformers' table of weights that mean a model which is not what its file says.
_FAULTS = ("MISSING", "MISMATCH", "CONVERSION")


def quiet_libraries() -> None:
    """Switch off the libraries' own bars but those of downloads; for the commands, which say themselves what they do.

    Process-wide, so that only a command's entry point may call it.
    """
    downloads_shown = not are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the environment has decided on those of downloads
        transformers_logging.disable_progress_bar()  # those of downloads too
        if downloads_shown:
            enable_progress_bars()
    with contextlib.suppress(ModuleNotFoundError):  # a command that needs it says so; another can do without
        import datasets

        datasets.disable_progress_bars()
    for module in ("modeling_utils", "trainer_utils", "trainer"):
        logging.getLogger(f"transformers.{module}").addFilter(asks_for_attention)


def asks_for_attention(record: logging.LogRecord) -> bool:
    """Whether a message of transformers asks something of a user.

    Three do not. A backbone is loaded without the pooler or the head of its pretraining, and each load tells so in a
    table. Checkpoints that were written within a second are told apart by their numbers, which is what they are for.
    A run that goes on has its own recipe's arguments, some of which the Trainer had turned from shares into steps.
    """
    message = record.getMessage()
    if "mtime may not be reliable" in message or "arguments do not match the ones in the" in message:
        return False
    return "LOAD REPORT" not in message or any(fault in message for fault in _FAULTS)
