"""Atomic writing of checkpoints, which refuses weights that are not finite."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name in the target's folder, then renames it.

    Lightning writes to the system's temporary folder and moves the file, which is a copy between two file systems: a
    job killed at that moment leaves half a checkpoint in place of the last good one. Weights that are NaN or infinite
    are not written, so that the existing file stays the newest good checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint, or a line on stderr if its weights are not finite.

        Raises:
            OSError: If it cannot be written, e.g. on a full disk; an existing file at ``path`` is kept.
        """
        target = Path(path)
        bad = non_finite_weights(checkpoint)
        if bad:
            kept = "what it holds is kept" if target.is_file() else "it is not written"
            sys.stderr.write(
                f"the weights of step {checkpoint.get('global_step', 0)} are not finite ({len(bad)} tensors, first "
                f"'{bad[0]}'), so they are not saved as {target}: {kept}\n"
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
