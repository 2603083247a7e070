"""The command line: ``python -m cli fit|validate|test|predict --config experiments/<name>.yaml`` (or ``lightning``)."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from lightning_modules.runs.signals import WATCH, Stopped
from lightning_modules.runs.slurm import is_first_rank

if __name__ == "__main__" or Path(sys.argv[0]).name == "lightning":
    WATCH.start()  # before the imports below, which take seconds

import torch
from jsonargparse import ActionYesNo
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.base import ProjectDataModule
from lightning_modules.callbacks.checkpoint_artifacts import CheckpointArtifacts
from lightning_modules.callbacks.exact_resume import ExactResume
from lightning_modules.callbacks.final_weights import FinalWeights
from lightning_modules.callbacks.instance_writer import InstancePredictionWriter
from lightning_modules.callbacks.prediction_writer import DepthPredictionWriter
from lightning_modules.callbacks.progress import StepProgressBar
from lightning_modules.callbacks.run_summary import RunSummary
from lightning_modules.callbacks.stop_signals import StopSignals
from lightning_modules.command_line.monitors import check_monitors
from lightning_modules.command_line.parsers import CommandParser
from lightning_modules.command_line.settings_check import check_seed, check_settings
from lightning_modules.runs.batch_norm_sync import BatchNormSync
from lightning_modules.runs.checkpoint_io import with_atomic_checkpoints
from lightning_modules.runs.folder import (
    CHECKPOINT_FOLDER,
    RUN_ID_VARIABLE,
    RunFolder,
    place_run,
    run_id,
)
from lightning_modules.runs.loading import CheckpointError, innermost_reason
from lightning_modules.runs.loggers import finish_wandb, run_loggers, without_logger
from lightning_modules.runs.record import RunRecord
from lightning_modules.runs.resuming import WORDS_OF_LIGHTNING
from lightning_modules.runs.run_lock import RunLock
from lightning_modules.runs.slurm import ignore_tasks_without_srun
from lightning_modules.runs.start import start_of_evaluation, start_of_training
from lightning_modules.runs.warning_filters import ignore_harmless_warnings
from lightning_modules.tasks.base import NonFiniteLossError, PaperModule
from structures.errors import comes_from_worker
from structures.private_names import run_exit_functions

DEFAULTS = Path(__file__).parent / "experiments" / "_defaults.yaml"


class PlumblineCLI(LightningCLI):
    """LightningCLI with a folder, loggers and a record for every run."""

    lock: RunLock | None = None

    def __init__(self, *args: Any, **settings: Any) -> None:
        try:
            super().__init__(*args, **settings)
        finally:
            if self.lock is not None:
                finish_wandb()  # it writes into the folder
                self.lock.release()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of a run: its name, its folder, its tags, and the test after training."""
        parser.add_argument("--experiment", type=str | None, help="Name of the run's folder (default: first --config)")
        parser.add_argument("--runs_dir", type=str, default="runs", help="Folder of all runs")
        parser.add_argument("--tags", type=list[str], default=[], help="Additional tags of the W&B run")
        parser.add_argument(
            "--task_callbacks",
            type=bool | list[str],
            default=True,
            help="Callbacks that draw and write for the model's task: true, false, or the names of their classes",
        )
        parser.add_argument(
            "--artifacts",
            action=ActionYesNo(yes_prefix="", no_prefix="no_"),
            nargs="?",
            default=False,
            help="Log the best and the last checkpoint as artifacts of the W&B run",
        )
        parser.add_argument("--test_after_fit", type=bool, default=True, help="Test the best checkpoint after training")

    def before_instantiate_classes(self) -> None:
        """Check and complete the configuration, choose the run's folder, and check a checkpoint against the model."""
        config = self.config[self.subcommand]
        check_settings(config, str(self.subcommand))
        if "weights_only" in config:
            config.weights_only = True
        self.run_dir = place_run(config, str(self.subcommand))
        self.folder, self.lock = RunFolder(self.run_dir), RunLock(self.run_dir)
        if is_first_rank() and not config.trainer.fast_dev_run:
            self.lock.acquire()  # if it is refused, the folder belongs to another command and stays
        with self._kept_if_used():
            if self.subcommand == "fit":
                self.start = start_of_training(config, self.run_dir, self._parser(self.subcommand))
            else:
                self.start = start_of_evaluation(config, self.run_dir, str(self.subcommand), self.words)
        if "verbose" in config and not config.trainer.fast_dev_run:
            config.verbose = False  # the run's record shows the same table

    def __deepcopy__(self, memo: dict[int, object]) -> "PlumblineCLI":
        """The command itself: the makers of optimizers refer to it, and averaged weights copy them with the module."""
        return self

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the arguments, and keep the words of the command line apart from configuration files."""
        given = sys.argv[1:] if args is None else args
        self.words = given if isinstance(given, list) else []
        super().parse_arguments(parser, args)
        if self.config.get("subcommand"):
            check_seed(self.config[self.config.subcommand].get("seed_everything"))

    def _parse_ckpt_path(self) -> None:
        """Keep the configuration; Lightning would replace it by that of the checkpoint."""

    def instantiate_classes(self) -> None:
        """Instantiate the classes; a run that fails here leaves no folder."""
        with self._kept_if_used():
            super().instantiate_classes()
        if self.subcommand == "fit" and self.config.fit.ckpt_path not in WORDS_OF_LIGHTNING:
            # The record keeps what was given, by which the same command is known again.
            self.config_init.fit.ckpt_path = None if self.start.checkpoint is None else str(self.start.checkpoint)

    def _run_subcommand(self, subcommand: str) -> None:
        with self._kept_if_used():
            super()._run_subcommand(subcommand)

    @contextlib.contextmanager
    def _kept_if_used(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            WATCH.requeue()  # now, as W&B may take longer than SLURM waits
            finish_wandb(self.folder.kept)  # before the folder is removed, as W&B writes to it
            if self.lock is not None:
                self.lock.release()
            self.folder.leave()
            raise

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        """Create the trainer with the folder of the run, atomic checkpoints, and its loggers."""
        config = self.config[self.subcommand]
        kwargs["default_root_dir"] = str(self.run_dir)
        callbacks = list(self._get(self.config_init, "trainer").callbacks or [])
        self.model.chosen_callbacks = config.task_callbacks
        if config.trainer.logger is False and not config.trainer.fast_dev_run:
            callbacks = without_logger(callbacks)
        if self.subcommand == "fit":
            check_monitors(self.model, callbacks)
        for callback in callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(self.run_dir / CHECKPOINT_FOLDER)
        if config.trainer.enable_progress_bar is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
            if sys.stdout.isatty():
                callbacks.append(StepProgressBar())
            else:
                kwargs["enable_progress_bar"] = False  # the training log prints lines
        if config.artifacts and self.subcommand == "fit":
            callbacks.append(CheckpointArtifacts())
        kwargs["callbacks"] = [*callbacks, RunSummary(), FinalWeights(), ExactResume(), StopSignals(), self.folder]
        plugins = with_atomic_checkpoints(self._get(self.config_init, "trainer").plugins)
        if config.trainer.sync_batchnorm:  # Lightning's own fails on a CPU and drops activations of timm's layers
            kwargs["sync_batchnorm"] = False
            plugins.append(BatchNormSync())
        kwargs["plugins"] = plugins
        if config.trainer.logger in {None, True} and not config.trainer.fast_dev_run:
            kwargs["logger"] = run_loggers(config, self.run_dir, str(self.subcommand), self.start.resumed_step)
        return super().instantiate_trainer(**kwargs)

    def after_fit(self) -> None:
        """Test the best checkpoint, so that one command trains and evaluates."""
        if not self.config[self.subcommand].test_after_fit or self.trainer.interrupted:
            return
        best = best_of_this_run(self.trainer)
        if getattr(self.datamodule, "val_is_test", False):
            sys.stderr.write(
                "Validation ran on the test split: the last weights are tested, as the best ones were chosen on it.\n"
            )
            best = None
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False)
        self.after_test()

    def after_test(self) -> None:
        """Exit with 1 if there is ground truth but no score: a table of NaN is no success."""
        reason = getattr(self.model, "unscored", None)
        if reason is not None:
            raise SystemExit(f"error: there is no score: {reason}")

    def after_validate(self) -> None:
        """Exit with 1 if there is ground truth but no score."""
        self.after_test()

    def after_predict(self) -> None:
        """Exit with 1 if an image could not be predicted; the others are written."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]  # not in the type of the trainer
        writers = [c for c in callbacks if isinstance(c, DepthPredictionWriter | InstancePredictionWriter)]
        if any(writer.failures for writer in writers):
            raise SystemExit(1)


def best_of_this_run(trainer: Trainer) -> str | None:
    """The best checkpoint that a training wrote, or None if it wrote none.

    A training that resumes from another run also restores the path of that run's best checkpoint, which is ignored.
    """
    callback = trainer.checkpoint_callback
    best = getattr(callback, "best_model_path", "")
    if not best:
        return None
    if Path(best).is_file() and Path(best).resolve().parent == Path(str(getattr(callback, "dirpath", ""))).resolve():
        return str(best)
    sys.stderr.write("This run has no best checkpoint of its own: its last weights are tested.\n")
    return None


def main(args: ArgsType = None) -> None:
    """Run the command line.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Raises:
        SystemExit: 1 with one sentence for bad input, 2 for a bad command line; after a signal 128 and its number: 143
            for SIGTERM, 130 for Ctrl-C, 138 for SIGUSR1.
    """
    with WATCH.command():
        _run_command(args)


def _run_command(args: ArgsType) -> None:
    ignore_harmless_warnings()
    torch.set_flush_denormal(True)  # denormals cost up to 100x on a CPU and carry no information
    torch.set_float32_matmul_precision("high")
    inherited = os.environ.get(RUN_ID_VARIABLE)
    defaults = {"default_config_files": [str(DEFAULTS)]}
    name = "lightning" if Path(sys.argv[0]).name == "lightning" else "python -m cli"
    try:
        try:
            ignore_tasks_without_srun()
            os.environ[RUN_ID_VARIABLE] = run_id()  # other ranks inherit this environment
            PlumblineCLI(
                PaperModule,
                ProjectDataModule,
                parser_class=CommandParser,
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                save_config_callback=RunRecord,
                save_config_kwargs={"overwrite": True},
                seed_everything_default=0,
                parser_kwargs={"prog": name} | {command: dict(defaults) for command in LightningCLI.subcommands()},
                args=args,
            )
        finally:
            finish_wandb()
    except Stopped as stop:
        _exit_stopped(stop)
    except Exception as error:
        if WATCH.received is None:
            _exit_failed(error)
        sys.stderr.write(f"{innermost_reason(error)}\n")  # e.g. the signal has reached another process before
        _exit_stopped(Stopped(WATCH.received))
    finally:
        if inherited is None:
            os.environ.pop(RUN_ID_VARIABLE, None)


def _exit_stopped(stop: Stopped) -> NoReturn:
    WATCH.requeue()
    if is_first_rank():
        sys.stderr.write(f"{stop}\n")
    if WATCH.is_program:  # without the end of the interpreter, in which libraries may wait for other processes
        run_exit_functions()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stop.exit_code)
    raise SystemExit(stop.exit_code) from None


def _exit_failed(error: Exception) -> NoReturn:
    """Exit with one sentence for what a user can mend; raise what is a bug."""
    known = (CheckpointError, MisconfigurationException, ValueError, OSError, RuntimeError)
    if not isinstance(error, known):
        raise error
    if isinstance(error, RuntimeError) and re.search(r"Connection (closed|reset) by peer", str(error)):
        raise SystemExit("error: another process of this run has ended; its output gives the reason") from None
    if isinstance(error, RuntimeError) and not (isinstance(error, NonFiniteLossError) or comes_from_worker(error)):
        raise error
    if os.environ.get("PLUMBLINE_TRACEBACK"):
        raise error
    raise SystemExit(f"error: {innermost_reason(error)} (PLUMBLINE_TRACEBACK=1 shows where)") from None


if __name__ == "__main__":
    main()
