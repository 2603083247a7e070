"""All private names of other packages that this project uses, because no public name serves.

They were checked with the versions in :data:`CHECKED_WITH`. ``tests/structures/test_private_names.py`` fails and names
what is missing when a version lacks one of them. Objects of Lightning are taken as they come: this package does not
import Lightning.
"""

import argparse
import atexit
from collections.abc import Mapping
from typing import Any

import jsonargparse
import torch
from torch import Tensor, nn

CHECKED_WITH: Mapping[str, str] = {"lightning": "2.6.6", "jsonargparse": "4.53.0", "torch": "2.12"}

SAVE_ON_TRAIN_EPOCH_END = "_save_on_train_epoch_end"
"""Attribute of ``ModelCheckpoint``; only its constructor has a public argument for it."""


FSDP_PREFIX = "_fsdp_wrapped_module."
"""What ``FullyShardedDataParallel`` adds to the names of a module's parts, except in its state dict."""


def validation_is_due(fit_loop: Any) -> bool:
    """Whether Lightning validates after the current batch of the training.

    Args:
        fit_loop: ``trainer.fit_loop``, in a training.
    """
    return bool(fit_loop.epoch_loop._should_check_val_fx(fit_loop._data_fetcher))


def may_stop_early(fit_loop: Any) -> bool:
    """Whether the least number of epochs and of steps is reached.

    Args:
        fit_loop: ``trainer.fit_loop``.
    """
    return bool(fit_loop._can_stop_early)


def last_batch_is_ready(fit_loop: Any) -> bool:
    """Whether the current batch is the last one of its epoch.

    Args:
        fit_loop: ``trainer.fit_loop``, in a training.
    """
    return bool(fit_loop.epoch_loop._num_ready_batches_reached())


def count_step(fit_loop: Any) -> None:
    """Add one to the number of batches that made a step.

    Args:
        fit_loop: ``trainer.fit_loop``.
    """
    fit_loop.epoch_loop._batches_that_stepped += 1


def end_restart(fit_loop: Any) -> None:
    """Mark the loops as not restarting; with ``max_steps`` the public property of the outer loop stays true.

    Args:
        fit_loop: ``trainer.fit_loop``.
    """
    fit_loop.epoch_loop.restarting = False
    fit_loop._restarting = False


def set_log_step(fit_loop: Any, step: int) -> None:
    """Set the step under which Lightning logs, which it counts apart from the steps of the optimizer.

    Args:
        fit_loop: ``trainer.fit_loop``.
        step: Number of batches that made a step.
    """
    fit_loop.epoch_loop._batches_that_stepped = step


def drop_train_loader(fit_loop: Any) -> None:
    """Let Lightning make the training data again when the training starts.

    It makes them as soon as the number of batches is needed, e.g. by a schedule, before it restores the position.

    Args:
        fit_loop: ``trainer.fit_loop``.
    """
    if fit_loop._data_fetcher is not None:
        fit_loop._data_fetcher.teardown()
    fit_loop._data_fetcher = fit_loop._combined_loader = None


def last_saved_step(model_checkpoint: Any) -> int:
    """Step at which a ``ModelCheckpoint`` saved last, 0 if it has not saved."""
    return int(model_checkpoint._last_global_step_saved)


def mark_as_saved(model_checkpoint: Any, step: int) -> None:
    """Keep a ``ModelCheckpoint`` from saving at a step."""
    model_checkpoint._last_global_step_saved = step


def leave_signals_alone(trainer: Any) -> None:
    """Keep a trainer from installing handlers of signals, and from comparing them between processes before a batch."""
    trainer._signal_connector.register_signal_handlers = _do_nothing
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _do_nothing


def _do_nothing() -> None:
    pass


def save_now(model_checkpoint: Any, trainer: Any) -> None:
    """Save a checkpoint through a ``ModelCheckpoint``, as after a validation."""
    model_checkpoint._save_topk_checkpoint(trainer, model_checkpoint._monitor_candidates(trainer))


def run_exit_functions() -> None:
    """Call what was registered with ``atexit``, as at the end of the interpreter."""
    atexit._run_exitfuncs()


def parser_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Everything that was added to a parser, in order."""
    return list(parser._actions)


def option_strings(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a parser, such as ``--config``."""
    return list(parser._option_string_actions)


def subcommand_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the subcommands of a parser by name; empty if it has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def type_hint(action: argparse.Action) -> Any:
    """The type of an option: jsonargparse's hint if there is one, otherwise argparse's ``type``."""
    return getattr(action, "_typehint", action.type)


def set_import_verdicts(verdicts: Mapping[str, bool]) -> None:
    """Replace jsonargparse's list of what a setting may name as code; its public function can only add names.

    Args:
        verdicts: Whether each name may be imported, ``*`` for all others; the longest prefix of a path decides.
    """
    jsonargparse._common.parsing_settings["import_path_verdicts"] = dict(verdicts)
    jsonargparse._common.parsing_settings["import_paths_enforced"] = True


def buffer_owners(module: nn.Module) -> Mapping[str, Tensor | None]:
    """The buffers of a module itself by name, live: a buffer that is replaced is replaced here too."""
    return module._buffers


def version_of(tensor: Tensor) -> int:
    """A number that grows with every change of a tensor in place."""
    return tensor._version


def copy_tensors(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy each source into its target, in few operations on a GPU."""
    if targets:
        torch._foreach_copy_(targets, sources)
