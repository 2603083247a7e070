"""``trainer.sync_batchnorm``: batch norms with the statistics of the batch of all processes."""

from lightning.pytorch.plugins import LayerSync
from torch import nn

from networks.batch_norm import synchronise_batch_norms


class BatchNormSync(LayerSync):
    """Replaces batch norms when a training on several processes starts, also on a CPU and in timm's layers.

    Lightning's own plugin fails on a CPU, and drops the activation of timm's layers that hold both.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """The module with synchronised batch norms."""
        return synchronise_batch_norms(model)

    def revert(self, model: nn.Module) -> nn.Module:
        """The module itself: outside of a training step these norms are ordinary ones."""
        return model
