"""Filters for warnings and messages of Lightning on which a user cannot act."""

import logging
import warnings

HARMLESS_WARNINGS = (
    ".*does not have many workers.*",  # the training step uses all cores
    "Experiment logs directory .* exists",  # the old file has been renamed
    "The dirpath has changed from .*",  # a checkpoint of another run is loaded
    "Checkpoint directory .* exists and is not empty",  # checkpoints of an earlier training have been renamed
    "You're resuming from a checkpoint that ended before the epoch ended .*",  # see datamodules/loading/resume.py
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # inside lightning
)

HARMLESS_MESSAGES = (
    "try installing [litlogger]",  # it would replace this project's `lightning` command
    "try installing [litmodels]",
    "was raised with message:",  # with the traceback of a worker; the command line prints the reason
)
"""Parts of messages that Lightning logs as information."""


class _LeaveOut(logging.Filter):
    """Drops harmless messages; all other messages of the logger pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(part in message for part in HARMLESS_MESSAGES)


_LEAVE_OUT = _LeaveOut()


def ignore_harmless_warnings() -> None:
    """Filter these warnings and messages in this process."""
    for message in HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_LEAVE_OUT)  # adding a filter twice has no effect
