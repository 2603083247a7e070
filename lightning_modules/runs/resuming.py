"""Checks before a run resumes: which checkpoint, whether it fits, and whether anything is left to train."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from lightning_modules.runs.loading import RECIPE_KEY
from lightning_modules.runs.newest import newest_checkpoint
from lightning_modules.runs.same_run import belongs_to

WORDS_OF_LIGHTNING = ("hpc", "registry")
"""Values of ``--ckpt_path`` that Lightning resolves itself."""


def named_checkpoint(ckpt_path: str | None, run_dir: Path, subcommand: str) -> Path | None:
    """The file that ``--ckpt_path`` names.

    Args:
        ckpt_path: A path, ``last``, another word of Lightning's, or None.
        run_dir: The run's folder.
        subcommand: ``fit``, ``validate``, ``test`` or ``predict``.

    Returns:
        The file, whether it exists or not; for ``last`` the newest whole checkpoint of the run. None if there is none
        to resume from, or if Lightning resolves the word.

    Raises:
        ValueError: If the word is for trainings and this is another command: it would evaluate untrained weights.
        CheckpointError: If the word is ``last`` and all checkpoints of the run are damaged.
    """
    if ckpt_path is None or ckpt_path in WORDS_OF_LIGHTNING:
        return None
    if ckpt_path not in ("last", "best"):
        return Path(ckpt_path)
    if subcommand != "fit":
        raise ValueError(
            f"--ckpt_path {ckpt_path} is for going on with a training; {subcommand} needs the file, as in --ckpt_path "
            f"runs/EXPERIMENT/RUN/checkpoints/{ckpt_path}.ckpt"
        )
    if ckpt_path == "best":
        raise ValueError("--ckpt_path best is not for training: give last, or the file to go on from")
    return newest_checkpoint(run_dir)


def check_state_of_training(checkpoint: dict[str, Any], path: Path, model: Namespace) -> None:
    """Make sure that a checkpoint holds the state of a training with this optimizer and schedule.

    Args:
        checkpoint: Content of the file.
        path: The file.
        model: The model's configuration.

    Raises:
        ValueError: If it holds only weights, or the state of another optimizer or schedule.
    """
    from_weights = "lightning_modules.callbacks.start_from.StartFrom begins a training with its weights alone"
    if any(key not in checkpoint for key in ("optimizer_states", "lr_schedulers", "loops")):
        raise ValueError(f"checkpoint '{path}' holds weights without the state of a training: {from_weights}")
    trained = (checkpoint[RECIPE_KEY]["model"] or {}).get("optimisation") or {}
    settings = (model.get("init_args") or {}).get("optimisation") or {}
    for name in ("optimizer", "lr_scheduler"):
        before, now = (_class_path(arguments.get(name)) for arguments in (trained, settings))
        if before != now:
            raise ValueError(
                f"checkpoint '{path}' was trained with {name} {before}, and {now} cannot go on from its state; "
                f"{from_weights}"
            )


def _class_path(value: Any) -> str | None:
    found: str | None = value.get("class_path") if isinstance(value, Mapping | Namespace) else value
    return found


def check_something_is_left(checkpoint: dict[str, Any], path: Path, trainer: Namespace, run_dir: Path) -> None:
    """Make sure that a training which resumes from a checkpoint has steps left.

    A checkpoint of the same run exactly at its end is accepted, e.g. that of a requeued job that was stopped in its
    test: the run then continues with the test.

    Args:
        checkpoint: Content of the file.
        path: The file.
        trainer: The trainer's configuration.
        run_dir: The run's folder.

    Raises:
        ValueError: If ``max_steps`` or ``max_epochs`` is reached already.
    """
    step = int(checkpoint.get("global_step", 0))
    max_steps = -1 if trainer.max_steps is None else trainer.max_steps
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {}).get("current", {})
    epochs, max_epochs = progress.get("processed", 0), trainer.max_epochs
    if 0 < max_steps <= step:
        done, limit, exactly = f"step {step}", f"max_steps is {max_steps}", step == max_steps
    elif max_epochs is not None and 0 < max_epochs <= epochs:
        done, limit, exactly = f"the end of epoch {epochs}", f"max_epochs is {max_epochs}", epochs == max_epochs
    else:
        return
    if exactly and belongs_to(path, run_dir):
        return
    raise ValueError(
        f"checkpoint '{path}' is at {done} and {limit}: nothing is left to train; raise {limit.split()[0]}, or "
        "evaluate it with the command test"
    )
