"""Checkpoints that are whole or not there: written beside their place and renamed, and never with ruined weights."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint into its own folder under another name, then renames it.

    Lightning writes to the system's temporary folder first, and moving from there is a copy where that is another file
    system: a job killed at that moment leaves half a checkpoint in place of the last good one. Weights that are NaN
    or infinite are not written at all, so that what stands in their place stays the newest good checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint; one with ruined weights is named on stderr instead.

        Raises:
            OSError: If it cannot be written, the disk being full for one; what stood at ``path`` still does.
        """
        target = Path(path)
        ruined = ruined_weights(checkpoint)
        if ruined:
            kept = "what it holds is kept" if target.is_file() else "it is not written"
            sys.stderr.write(
                f"the weights of step {checkpoint.get('global_step', 0)} are not finite ({len(ruined)} tensors, first "
                f"'{ruined[0]}'), so they are not saved as {target}: {kept}\n"
            )
            return
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


def ruined_weights(checkpoint: dict[str, Any]) -> list[str]:
    """Names of the weights of a checkpoint that hold NaN or infinity, averaged weights included.

    Negative infinity beside nothing but zeros is a mask, which is meant to be so.

    Args:
        checkpoint: What Lightning is about to write.
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
