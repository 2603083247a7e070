"""Changes to the state of Lightning's training loop in a checkpoint, so that it always lies between two steps."""

from dataclasses import dataclass
from typing import Any

_BATCHES = "epoch_loop.batch_progress"
_OPTIMIZER = "epoch_loop.automatic_optimization.optim_progress"
_VALIDATION = "epoch_loop.val_loop.batch_progress"

LoopState = dict[str, Any]
"""Content of ``checkpoint["loops"]["fit_loop"]``."""


@dataclass(frozen=True)
class BatchCount:
    """Batches that were completed: of the whole training, and of its present epoch."""

    total: int
    epoch: int


def rewind(state: LoopState, done: BatchCount) -> None:
    """Take back the batches after a step that did not make another one.

    Args:
        state: Changed in place.
        done: Batches at the end of that step.
    """
    batches = state[_BATCHES]
    for part, count in (("total", done.total), ("current", done.epoch)):
        batches[part] = dict.fromkeys(batches[part], count)
    batches["is_last_batch"] = False
    for trackers in state[_OPTIMIZER]["optimizer"].values():
        for tracker in trackers.values():
            tracker.update(dict.fromkeys(tracker, tracker["completed"]))


def ask_for_validation(state: LoopState) -> None:
    """Let Lightning begin with a whole validation when it resumes, as if its first batch had been interrupted.

    Lightning leaves a validation out that was due but not begun, and continues an interrupted one with the number of
    its batch but the first samples of the data. The metrics of the first part are not in the checkpoint.

    Args:
        state: Changed in place; the current batch is marked as completed.
    """
    for tracker in (state[_BATCHES]["total"], state[_BATCHES]["current"]):
        tracker["completed"] = tracker["processed"]
    state[_VALIDATION] = {
        "total": {"ready": 1, "started": 1, "processed": 0, "completed": 0},
        "current": {"ready": 0, "started": 0, "processed": 0, "completed": 0},
        "is_last_batch": False,
    }
