"""Where a command begins: the checkpoint that it loads, after a check that the checkpoint and the settings fit."""

import sys
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lightning_modules.runs.class_counts import fill_class_count
from lightning_modules.runs.loading import check_checkpoint, without_pretrained
from lightning_modules.runs.newest import newest_checkpoint
from lightning_modules.runs.resuming import (
    WORDS_OF_LIGHTNING,
    check_something_is_left,
    check_state_of_training,
    named_checkpoint,
)
from lightning_modules.runs.same_run import (
    belongs_to,
    check_same,
    differences,
    finished,
    in_words,
    plain_settings,
    recorded_settings,
)
from lightning_modules.runs.slurm import is_first_rank
from lightning_modules.runs.trained_data import use_training_settings


@dataclass(frozen=True)
class Start:
    """Where a command begins.

    Attributes:
        checkpoint: The file to load; None for initial weights, or if Lightning resolves a word such as ``hpc``.
        resumed_step: Step from which the run goes on; None if it begins.
    """

    checkpoint: Path | None
    resumed_step: int | None = None


def start_of_training(config: Namespace, run_dir: Path, parser: ArgumentParser) -> Start:
    """The checkpoint that a training goes on from: its own if it was interrupted, otherwise the one that is named.

    ``--ckpt_path last`` means its own, too, but with other settings as well. The first process prints a line if the run
    goes on, or if it is finished.

    Args:
        config: Resolved configuration of the command; the number of classes is filled in, and pretrained weights are
            removed if a checkpoint is named.
        run_dir: The run's folder.
        parser: Parser of the command.

    Raises:
        FileNotFoundError: If the named checkpoint does not exist.
        CheckpointError: If a checkpoint cannot be used.
        OtherSettingsError: If the folder holds a training with other settings.
        ValueError: If nothing is left to train, or the checkpoint is of another optimizer.
        SystemExit: 0 if the run is finished.
    """
    given, debugs = config.ckpt_path, bool(config.trainer.fast_dev_run)
    checkpoint = named_checkpoint(given, run_dir, "fit")
    is_explicit = given is not None and (given == "last" or given in WORDS_OF_LIGHTNING or belongs_to(given, run_dir))
    own = None if is_explicit or debugs else newest_checkpoint(run_dir)
    fill_class_count(config, own or checkpoint)
    if checkpoint is not None and given != "last":  # which holds all weights
        config.model = without_pretrained(config.model)
    settings = plain_settings(parser, config)
    recorded = None if debugs else recorded_settings(run_dir)
    changed = {} if recorded is None else differences(recorded, settings, run_dir)
    if own is not None:
        check_same(changed, run_dir)
        checkpoint = own
    if checkpoint is None:
        return Start(None)
    content = check_checkpoint(checkpoint, config.model)
    check_state_of_training(content, checkpoint, config.model)
    resumed_step = None
    if belongs_to(checkpoint, run_dir) and not debugs:
        resumed_step = int(content["global_step"])
    check_something_is_left(content, checkpoint, config.trainer, run_dir)
    if resumed_step is not None:
        _leave_if_finished(finished(run_dir, content, settings, changed=bool(changed)), run_dir)
    if resumed_step is not None and is_first_rank():
        new = f", with changed settings: {in_words(changed)}" if changed else ""
        sys.stderr.write(f"note: the run goes on from {checkpoint}, step {resumed_step}{new}\n")
    return Start(checkpoint, resumed_step)


def _leave_if_finished(reached: str | None, run_dir: Path) -> None:
    if reached is None:
        return
    if is_first_rank():
        sys.stderr.write(
            f"{run_dir} is finished ({reached}): nothing is left to do. Another RUN_ID begins a new run; a greater "
            "length with --ckpt_path last trains on.\n"
        )
    raise SystemExit(0)


def start_of_evaluation(config: Namespace, run_dir: Path, command: str, words: list[str]) -> Start:
    """The checkpoint that ``validate``, ``test`` or ``predict`` loads.

    Args:
        config: Resolved configuration of the command; settings of the training are taken over from the checkpoint.
        run_dir: The run's folder.
        command: The command.
        words: The command line.

    Raises:
        FileNotFoundError: If the checkpoint does not exist.
        CheckpointError: If it cannot be used.
        ValueError: If it is not named by its file.
    """
    checkpoint = named_checkpoint(config.ckpt_path, run_dir, command)
    fill_class_count(config, checkpoint)
    if checkpoint is not None:
        check_checkpoint(checkpoint, config.model)
        for line in use_training_settings(config, checkpoint, words):
            if is_first_rank():
                sys.stderr.write(f"note: {line}\n")
        config.model = without_pretrained(config.model)
    return Start(checkpoint)
