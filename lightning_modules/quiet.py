"""Warnings of lightning that a user can do nothing about."""

import warnings

HARMLESS_WARNINGS = (
    ".*does not have many workers.*",  # two cores are busy with the training step itself
    "Experiment logs directory .* exists",  # the old file has been moved aside
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # inside lightning
)


def quiet_lightning() -> None:
    """Silence them for this process."""
    for message in HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
