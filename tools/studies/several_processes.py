"""Losses and speed of the same trainings on one process and on two, for the same global batches.

``python -m tools.studies.several_processes RUN [RUN ...] [--steps 51] [--batch 4] [--sgd 0.01] [--out study.json]``

A RUN is the files of an experiment, joined by commas: ``experiments/fcn_ssim.yaml,tests/overlays/rooms.yaml``. The data
modules give two processes the samples of one by themselves, with the same augmentations. Random draws *within* a step
(views, pairs of pixels, the noise of identity errors) are those of one process, too: each process makes the draws of
the global batch and takes its own rows. Batch norms are synchronised. Adam divides by small second moments, which
amplifies rounding errors; ``--sgd`` replaces the optimizer by gradient descent. The table has the difference of the
mean loss of both processes to the loss of one process, relative to it, at some steps, and the images per second.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer, seed_everything
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from datamodules.base import ProjectDataModule
from lightning_modules.command_line.settings_tree import settings_tree
from lightning_modules.runs.batch_norm_sync import BatchNormSync
from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
from lightning_modules.runs.class_counts import fill_class_count
from lightning_modules.tasks.base import PaperModule
from lightning_modules.tasks.optimisation import Optimisation
from tools.command import few_messages, plain_parser, run_tool, settings_parser

SHOWN_STEPS = (0, 5, 50)
WARM_UP_STEPS = 3
"""First steps that are left out of the images per second."""


@contextmanager
def draws_of_one_process(step: int, rank: int, processes: int) -> Iterator[None]:
    """Context in which torch's random tensors are the rows of this process of those that one process would draw.

    Args:
        step: Seed of the draws.
        rank: Rank of this process, whose samples are the rows ``rank, rank + processes, ...`` of the global batch.
        processes: Number of processes.
    """
    generator = torch.Generator().manual_seed(step)
    real = {name: getattr(torch, name) for name in ("rand", "randint", "randn_like")}

    def rows(shape: Sequence[int], draw: Callable[..., Tensor]) -> Tensor:
        return draw((shape[0] * processes, *shape[1:]))[rank::processes]

    def rand(*shape: Any, **options: Any) -> Tensor:
        sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        if options.get("generator") is not None:
            return cast(Tensor, real["rand"](*shape, **options))
        options.pop("generator", None)
        device = options.pop("device", None)
        return rows(sizes, lambda size: real["rand"](size, generator=generator, **options)).to(device)

    def randint(low: int, high: int, shape: Sequence[int], **options: Any) -> Tensor:
        device = options.pop("device", None)
        return rows(shape, lambda size: real["randint"](low, high, size, generator=generator, **options)).to(device)

    def randn_like(values: Tensor) -> Tensor:
        drawn = rows(values.shape, lambda size: torch.randn(size, generator=generator, dtype=values.dtype))
        return drawn.to(values.device)

    torch.rand, torch.randint, torch.randn_like = rand, randint, randn_like  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.rand, torch.randint, torch.randn_like = real["rand"], real["randint"], real["randn_like"]


class Recorder(Callback):
    """Keeps the loss of every batch, mean over processes, and the time of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Keep the loss of a batch."""
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        self.times.append(time.perf_counter())

    def images_per_s(self, batch_size: int) -> float:
        """Images of the global batch per second, without the first steps."""
        steps = self.times[WARM_UP_STEPS:]
        return batch_size * (len(steps) - 1) / (steps[-1] - steps[0]) if len(steps) > 1 else float("nan")


def prepared(run: str, batch_size: int) -> tuple[PaperModule, LightningDataModule]:
    """The module and the data module of a run.

    Args:
        run: Files of an experiment, joined by commas.
        batch_size: Batch size of a process.
    """
    words = [word for file in run.split(",") for word in ("--config", file)]
    tree = settings_tree([*words, "--data.init_args.batch_size", str(batch_size)])
    parser = settings_parser("tools.studies.several_processes", None)
    parser.add_subclass_arguments(PaperModule, "model", required=True)
    parser.add_subclass_arguments(ProjectDataModule, "data", required=True)
    seed_everything(0, verbose=False)
    config = parser.parse_object({"model": tree["model"], "data": tree["data"]})
    fill_class_count(config)
    built = parser.instantiate(config)
    return built.model, built.data


def train(
    run: str,
    *,
    processes: int,
    steps: int,
    batch_size: int,
    strategy: str | Strategy = "ddp",
    sgd: float | None = None,
    checkpoint: Path | None = None,
    **settings: Any,
) -> Recorder:
    """Train one run on several processes, this one among them; on CPUs unless the settings say otherwise.

    Args:
        run: Files of an experiment, joined by commas.
        processes: Number of processes; Lightning starts the others by the command of this one.
        steps: Optimizer steps.
        batch_size: Global batch size.
        strategy: Strategy of several processes.
        sgd: Learning rate of gradient descent in place of the paper's optimizer; None keeps it.
        checkpoint: File for the state after the last step, if wanted.
        settings: Further settings of the trainer.
    """
    module, data = prepared(run, batch_size // processes)
    if sgd is not None:
        module.optimisation = Optimisation(partial(torch.optim.SGD, lr=sgd))
    recorder = Recorder()
    trainer = Trainer(
        devices=processes,
        strategy=strategy,
        max_steps=steps,
        gradient_clip_val=1.0,
        callbacks=[recorder],
        plugins=[BatchNormSync(), AtomicCheckpointIO()],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"accelerator": "cpu", "limit_val_batches": 0, **settings},
    )
    terms = module.loss_terms

    def with_the_same_draws(batch: Any) -> dict[str, Tensor]:
        with draws_of_one_process(trainer.global_step, trainer.global_rank, trainer.world_size):
            return terms(batch)

    module.loss_terms = with_the_same_draws  # type: ignore[method-assign]
    trainer.fit(module, data)
    if checkpoint is not None:
        trainer.save_checkpoint(checkpoint)
    return recorder


def run_all(runs: Sequence[str], *, processes: int, steps: int, batch_size: int, sgd: float | None, out: Path) -> None:
    """Train all runs and write their losses and speeds to a JSON file."""
    results = {}
    with few_messages():
        for run in runs:
            strategy = "ddp" if processes > 1 else "auto"
            found = train(run, processes=processes, steps=steps, batch_size=batch_size, strategy=strategy, sgd=sgd)
            results[run] = {"losses": found.losses, "images_per_s": found.images_per_s(batch_size)}
            if int(os.environ.get("LOCAL_RANK", "0")) == 0:
                out.write_text(json.dumps(results))


def differences(one: Sequence[float], several: Sequence[float]) -> list[float]:
    """Largest relative difference of the loss up to each of :data:`SHOWN_STEPS` that was trained."""
    relative = [abs(b - a) / max(abs(a), 1e-12) for a, b in zip(one, several, strict=True)]
    return [max(relative[: min(step, len(relative) - 1) + 1]) for step in SHOWN_STEPS]


def table(one: dict[str, Any], two: dict[str, Any]) -> str:
    """The results as a Markdown table."""
    lines = ["| run | step 0 | to step 5 | to the last | images/s, 1 process | 2 processes | ratio |"]
    lines.append("|---|---|---|---|---|---|---|")
    for run, first in one.items():
        numbers = " | ".join(f"{value:.1e}" for value in differences(first["losses"], two[run]["losses"]))
        speeds = first["images_per_s"], two[run]["images_per_s"]
        name = Path(run.split(",")[0]).stem
        lines.append(f"| `{name}` | {numbers} | {speeds[0]:.1f} | {speeds[1]:.1f} | {speeds[1] / speeds[0]:.2f} |")
    return "\n".join(lines) + "\n"


def work(options: Any) -> int:
    """Train on one and on two processes, each in a process of its own, and print the table; returns the exit code."""
    if options.processes is not None:
        settings = {
            "processes": options.processes,
            "steps": options.steps,
            "batch_size": options.batch,
            "sgd": options.sgd,
        }
        run_all(options.runs, **settings, out=options.out)
        return 0
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for processes in (1, 2):
            part = Path(folder) / f"{processes}.json"
            command = [sys.executable, "-m", "tools.studies.several_processes", *options.runs]
            command += ["--steps", str(options.steps), "--batch", str(options.batch)]
            command += ["--processes", str(processes), "--out", str(part)]
            command += [] if options.sgd is None else ["--sgd", str(options.sgd)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
            ended = subprocess.run(command, env=environment, check=False).returncode
            if ended != 0:  # the reason is on stderr
                return ended
            results.append(json.loads(part.read_text()))
    if options.out is not None:
        options.out.write_text(json.dumps({"one": results[0], "two": results[1]}))
    sys.stdout.write(table(*results))
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit code."""
    parser = plain_parser("tools.studies.several_processes", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="YAML files of an experiment, joined by commas")
    parser.add_argument("--steps", type=int, default=51, help="optimizer steps (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="global batch size, even (default: %(default)s)")
    parser.add_argument("--sgd", type=float, help="gradient descent with this rate in place of the paper's optimizer")
    parser.add_argument("--processes", type=int, help="train on this number only and write --out")
    parser.add_argument("--out", type=Path, help="JSON file of all losses")
    return run_tool(parser, work, words)


if __name__ == "__main__":
    raise SystemExit(main())
