"""A depth model with a calibration applied to what it predicts."""

from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

from structures.calibration import Calibration


class CalibratedDepth(LightningModule):
    """Adds the shift of a calibration to the depth of a model, or to its inverse: for prediction only.

    Args:
        model: Any module whose ``forward`` and ``predict_step`` give depth ``(B, 1, H, W)``.
        calibration: What was found for the domain of the images.
        from_nearest: Bring the nearest depth of each image to 1: for networks whose own unit may be so small that
            nothing is left of it in millimetres. The factor is not known anyway.
    """

    def __init__(self, model: LightningModule, calibration: Calibration, from_nearest: bool = False) -> None:
        super().__init__()
        self.model = model
        self.calibration = calibration
        self.from_nearest = from_nearest

    def forward(self, image: Tensor) -> Tensor:
        """Calibrated depth of images alone."""
        return self._in_a_usual_unit(self.calibration.correct(self.model(image)))

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Calibrated depth ``(B, 1, H, W)`` of a batch, up to one factor."""
        return self._in_a_usual_unit(self.calibration.correct(self.model.predict_step(batch, batch_idx)))

    def _in_a_usual_unit(self, depth: Tensor) -> Tensor:
        if not self.from_nearest:
            return depth
        nearest = depth.amin(dim=(1, 2, 3), keepdim=True)
        return depth / nearest.masked_fill(nearest <= 0, 1.0)
