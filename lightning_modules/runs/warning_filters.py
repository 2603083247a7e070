"""Warnings and messages of lightning that a user can do nothing about."""

import logging
import warnings

HARMLESS_WARNINGS = (
    ".*does not have many workers.*",  # two cores are busy with the training step itself
    "Experiment logs directory .* exists",  # the old file has been moved aside
    "The dirpath has changed from .*",  # weights of another run are used as they are
    "Checkpoint directory .* exists and is not empty",  # those of an earlier training have a place of their own
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # inside lightning
)

HARMLESS_MESSAGES = (
    "try installing [litlogger]",  # what it brings along replaces this project's `lightning` command by its own
    "try installing [litmodels]",
    "was raised with message:",  # with the whole traceback of a worker; the command line says the reason itself
)
"""Parts of what Lightning logs as information."""


class _LeaveOut(logging.Filter):
    """Leaves harmless messages out; every other message of the same logger is kept."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(part in message for part in HARMLESS_MESSAGES)


_LEAVE_OUT = _LeaveOut()


def quiet_lightning() -> None:
    """Silence them for this process."""
    for message in HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_LEAVE_OUT)  # a logger takes the same filter only once
