"""Checkpoints that are whole or not there: written beside their place and renamed."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint into its own folder under another name, then renames it.

    Lightning writes to the system's temporary folder first, and moving from there is a copy where that is another file
    system: a job killed at that moment leaves half a checkpoint in place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: If it cannot be written, the disk being full for one; what stood at ``path`` still does.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except (OSError, RuntimeError) as error:  # torch reports a failing disk as a RuntimeError
            partial.unlink(missing_ok=True)
            raise OSError(f"checkpoint {target} could not be written ({error}); earlier ones are kept") from error
