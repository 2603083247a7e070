"""Atomic writing of checkpoints with a checksum, which refuses weights that are not finite or half updated."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lightning_modules.runs.loading import CheckpointError
from lightning_modules.runs.running import is_running
from lightning_modules.runs.sealed_file import SealingWriter, is_whole
from lightning_modules.runs.signals import WATCH

STATE_KEY = "training_state"
"""Key of a checkpoint for what a training needs beside Lightning's own state, see ``callbacks/exact_resume.py``."""
HALF_STEP = "half_step"
"""Entry below :data:`STATE_KEY` of weights whose optimizer step was interrupted; they are not written."""
PARTIAL_SUFFIX = ".partial"
_ABANDONED_AFTER_S = 3600.0
"""Age of a partial file of another machine after which its writer is taken to have ended."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name in the target's folder, then renames it; reads it with its checksum.

    Lightning writes to the system's temporary folder and moves the file, which is a copy between two file systems: a
    job killed at that moment leaves half a checkpoint in place of the last good one. Here file and folder are flushed
    to the disk before and after the rename, so that a machine that loses power has the old or the new file. Weights
    that are NaN, infinite or half updated are not written, so that the existing file stays the newest good checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint, or a line on stderr if its weights must not be used.

        Raises:
            OSError: If it cannot be written, e.g. on a full disk; an existing file at ``path`` is kept.
        """
        target = Path(path)
        fault = why_unusable(checkpoint)
        if fault is not None:
            kept = "what it holds is kept" if target.is_file() else "it is not written"
            sys.stderr.write(
                f"the weights of step {checkpoint.get('global_step', 0)} are {fault}, so they are not saved as "
                f"{target}: {kept}\n"
            )
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target)
        partial = target.with_name(f"{target.name}.{_this_process()}{PARTIAL_SUFFIX}")
        try:
            with WATCH.writing():
                with partial.open("wb") as file:
                    writer = SealingWriter(file)
                    torch.save(checkpoint, cast(Any, writer))
                    writer.seal()
                flush_folder(target.parent)
                partial.replace(target)
                flush_folder(target.parent)
        except BaseException as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            if not isinstance(error, OSError | RuntimeError):  # torch reports a failing disk as a RuntimeError
                raise
            raise OSError(
                f"checkpoint {target} could not be written ({_first_line(error)}); earlier ones are kept"
            ) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Content of a checkpoint whose checksum is right.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If it is damaged.
        """
        if Path(path).is_file() and not is_whole(Path(path)):
            raise CheckpointError(f"checkpoint '{path}' is damaged: its bytes do not match its checksum")
        return super().load_checkpoint(path, map_location, weights_only)


def with_atomic_checkpoints(plugins: Any) -> list[Any]:
    """The plugins of a trainer with :class:`AtomicCheckpointIO`, unless one of them writes checkpoints itself.

    Args:
        plugins: The plugins of a configuration: None, one, or a list.
    """
    given = [] if plugins is None else list(plugins) if isinstance(plugins, list | tuple) else [plugins]
    return given if any(isinstance(plugin, CheckpointIO) for plugin in given) else [*given, AtomicCheckpointIO()]


def why_unusable(checkpoint: dict[str, Any]) -> str | None:
    """What is wrong with the weights of a checkpoint, as the end of "the weights are"; None if nothing is."""
    if checkpoint.get(STATE_KEY, {}).get(HALF_STEP):
        return "partly updated, as the optimizer was interrupted inside a step"
    bad = non_finite_weights(checkpoint)
    return f"not finite ({len(bad)} tensors, first '{bad[0]}')" if bad else None


def non_finite_weights(checkpoint: dict[str, Any]) -> list[str]:
    """Names of the weights of a checkpoint that hold NaN or infinity, averaged weights included.

    A tensor of zeros and negative infinity is an additive mask and is accepted.

    Args:
        checkpoint: The content of the checkpoint.
    """
    names = []
    for part in ("state_dict", "current_model_state"):
        for name, value in checkpoint.get(part, {}).items():
            if not isinstance(value, torch.Tensor) or not (value.is_floating_point() or value.is_complex()):
                continue
            if bool(torch.isfinite(value).all()):
                continue
            if not bool(((value == 0) | (value == float("-inf"))).all()):
                names.append(name)
    return names


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_abandoned(target: Path) -> None:
    """Remove partial files of a checkpoint whose writer was killed: of ended processes here, and old ones elsewhere.

    Args:
        target: The checkpoint.
    """
    for partial in target.parent.glob(f"{target.name}.*{PARTIAL_SUFFIX}"):
        host, _, process = partial.name[len(target.name) + 1 : -len(PARTIAL_SUFFIX)].rpartition("-")
        with contextlib.suppress(OSError):  # another process removes it at the same time
            if host == socket.gethostname() and process.isdecimal():
                abandoned = int(process) == os.getpid() or not is_running(int(process))
            else:
                abandoned = time.time() - partial.stat().st_mtime > _ABANDONED_AFTER_S
            if abandoned:
                partial.unlink()


def _this_process() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _first_line(error: BaseException) -> str:
    """The first line of a message: torch appends the place in its source code."""
    return str(error).partition("\n")[0]
