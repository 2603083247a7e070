"""A callback that prints the progress of a run in lines, where no progress bar is shown."""

import math
import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from structures.progress_lines import ProgressLines, duration_text

SCORE = "val/score"


class TrainingLog(Callback):
    """Prints lines like ``step 120 of 3000 (4%): loss 0.123, score 0.231 at step 100, 12.3 images/s, 1 h 12 min left``.

    A line comes at the start, after the first few steps, then at regular times, and with every validation; long
    validations, tests and predictions print how many batches are done. Where a progress bar is shown on a terminal
    nothing is printed, so the output of a SLURM job, of continuous integration or of ``nohup`` has lines and the
    terminal has the bar.

    The loss is the mean of the first process since the previous line; it is read from the device only for a line. The
    speed is that of all processes, without validations. The time left includes the validations so far.

    Args:
        first_step: Optimizer steps before the first line about a step.
        every_s: Longest time between two lines, in seconds, if steps are shorter.
        every_n_steps: Steps between two lines in addition to the time; null prints by time alone.

    Raises:
        ValueError: If one of them is not positive.
    """

    def __init__(self, first_step: int = 10, every_s: float = 30.0, every_n_steps: int | None = None) -> None:
        if first_step < 1:
            raise ValueError(f"first_step is {first_step}, but must be at least 1")
        if not (math.isfinite(every_s) and every_s > 0):
            raise ValueError(f"every_s is {every_s}, but must be a positive number of seconds")
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}, but must be at least 1 or null")
        self.first_step = first_step
        self.every_s = every_s
        self.every_n_steps = every_n_steps
        self._prints = False
        self._begin_s = self._printed_s = self._clock_s = 0.0
        self._first = self._step = 0
        self._loss: Tensor | None = None
        self._n_losses = 0
        self._images, self._seconds = 0, 0.0
        self._score: tuple[float, int] | None = None
        self._batches: ProgressLines | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out whether a progress bar is shown."""
        on_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._prints = trainer.is_global_zero and not (on_terminal and trainer.progress_bar_callback is not None)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print where the training begins, and start the clocks."""
        self._begin_s = self._printed_s = self._clock_s = time.monotonic()
        self._first = self._step = trainer.global_step
        self._loss, self._n_losses, self._images, self._seconds = None, 0, 0, 0.0
        how = "training goes on" if trainer.global_step else "training begins"
        self._print(f"{how}: {self._position(trainer)}")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not count the time between two epochs as training."""
        self._clock_s = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch, and print a line if one is due."""
        if not self._prints:
            return
        now = time.monotonic()
        self._seconds += now - self._clock_s
        self._clock_s = now
        self._images += len(batch["image"]) * trainer.world_size
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            # Lightning divides it by the number of batches of a step.
            part = loss.detach() * trainer.accumulate_grad_batches
            self._loss = part if self._loss is None else self._loss + part
            self._n_losses += 1
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        due = now - self._printed_s >= self.every_s or step - self._first == self.first_step
        if due or (self.every_n_steps is not None and step % self.every_n_steps == 0):
            self._print(f"{self._position(trainer)}: {self._state(trainer)}")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock of the training, and count batches."""
        self._begin_batches("validation", trainer.num_val_batches)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count batches."""
        self._begin_batches("test", trainer.num_test_batches)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count batches."""
        self._begin_batches("prediction", trainer.num_predict_batches)

    def _begin_batches(self, what: str, counts: Any) -> None:
        total = sum(counts) if isinstance(counts, list) else counts
        self._batches = ProgressLines(what, "batches", total, every_s=self.every_s, write=_write_line)

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Print how much is done if it takes long."""
        if self._prints and self._batches is not None:
            self._batches.add()

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the score."""
        if trainer.sanity_checking:
            return
        score = trainer.callback_metrics.get(SCORE)
        self._score = None if score is None else (float(score), trainer.global_step)
        if trainer.state.fn == "fit":
            self._print(f"{self._position(trainer)} validated: {self._state(trainer)}")
        self._clock_s = time.monotonic()

    def _position(self, trainer: Trainer) -> str:
        step, total = trainer.global_step, _total_steps(trainer)
        return f"step {step}" if total is None else f"step {step} of {total} ({step / total:.0%})"

    def _state(self, trainer: Trainer) -> str:
        """What has happened since the previous line, which starts anew."""
        parts = []
        if self._loss is not None:
            parts.append(f"loss {float(self._loss) / self._n_losses:.4g}")
        if self._score is not None:
            score, step = self._score
            parts.append(f"score {score:.4g}" + ("" if step == trainer.global_step else f" at step {step}"))
        if self._seconds > 0 and self._images:
            parts.append(f"{self._images / self._seconds:.3g} images/s")
        done, total = trainer.global_step - self._first, _total_steps(trainer)
        if total is not None and done > 0:
            left_s = (time.monotonic() - self._begin_s) / done * max(total - trainer.global_step, 0)
            parts.append(f"{duration_text(left_s)} left")
        self._loss, self._n_losses, self._images, self._seconds = None, 0, 0, 0.0
        return ", ".join(parts) or "nothing trained since"

    def _print(self, text: str) -> None:
        if self._prints:
            _write_line(text + "\n")
            self._printed_s = time.monotonic()


def _write_line(line: str) -> None:
    sys.stdout.write(time.strftime("%Y-%m-%d %H:%M:%S ") + line)
    sys.stdout.flush()  # a file is buffered in blocks


def _total_steps(trainer: Trainer) -> int | None:
    """Number of steps of the whole training, None if it is not known."""
    totals = []
    if trainer.max_steps > 0:
        totals.append(trainer.max_steps)
    epochs, batches = trainer.max_epochs, trainer.num_training_batches
    if epochs is not None and epochs > 0 and math.isfinite(batches):
        totals.append(epochs * math.ceil(batches / trainer.accumulate_grad_batches))
    return min(totals, default=None)
