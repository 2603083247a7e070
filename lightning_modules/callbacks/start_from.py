"""A callback that initialises a training with the weights of another run, as far as they fit."""

import logging
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_modules.runs.loading import CheckpointError, read_checkpoint

logger = logging.getLogger(__name__)


class StartFrom(Callback):
    """Loads weights of the same name and shape from a checkpoint before the first step; all others stay as they are.

    The checkpoint may be that of another paper, or of a smaller network: papers that learn depth and motion from video
    give their networks the same names, so that only, say, a segmentation decoder or a second pose decoder keeps its
    initialisation. Optimizer, schedule and step count start from zero. A resumed run (``--ckpt_path``) does not read
    the file: its own checkpoint holds all weights.

    Args:
        checkpoint: A ``.ckpt`` file of this project; None does nothing.
    """

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = None if checkpoint is None else Path(checkpoint)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the weights, except in a resumed run.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If the file is not a checkpoint of this project, or none of its weights fits.
        """
        if stage != "fit" or self.checkpoint is None or trainer.ckpt_path is not None:
            return
        found = read_checkpoint(self.checkpoint)["state_dict"]
        wanted = pl_module.state_dict()
        fitting = [name for name in wanted if name in found and found[name].shape == wanted[name].shape]
        if not fitting:
            raise CheckpointError(
                f"none of the weights of '{self.checkpoint}' fits a {type(pl_module).__name__} with these networks"
            )
        with torch.no_grad():
            for name in fitting:
                wanted[name].copy_(found[name])
        logger.info("%d of %d tensors start from %s", len(fitting), len(wanted), self.checkpoint)
