"""A depth model with a calibration applied to its predictions."""

from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

from structures.calibration import Calibration


class CalibratedDepth(LightningModule):
    """Adds the shift of a calibration to the predicted depth of a model, or to its inverse; for prediction only.

    Args:
        model: Module whose ``forward`` and ``predict_step`` return depth ``(B, 1, H, W)``.
        calibration: Calibration of the domain of the images.
        from_nearest: Scale the smallest depth of each image to 1, for networks of relative depth whose unit may be too
            small to be written in millimetres.
    """

    def __init__(self, model: LightningModule, calibration: Calibration, from_nearest: bool = False) -> None:
        super().__init__()
        self.model = model
        self.calibration = calibration
        self.from_nearest = from_nearest

    def forward(self, image: Tensor) -> Tensor:
        """Calibrated depth ``(B, 1, H, W)`` of images ``(B, 3, H, W)``, up to one factor."""
        return self._normalised(self.calibration.correct(self.model(image)))

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Calibrated depth ``(B, 1, H, W)`` of a batch, up to one factor."""
        return self._normalised(self.calibration.correct(self.model.predict_step(batch, batch_idx)))

    def _normalised(self, depth: Tensor) -> Tensor:
        if not self.from_nearest:
            return depth
        nearest = depth.amin(dim=(1, 2, 3), keepdim=True)
        return depth / nearest.masked_fill(nearest <= 0, 1.0)
