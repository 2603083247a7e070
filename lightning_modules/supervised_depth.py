"""Supervised monocular depth: seven networks and a family of losses under one protocol.

A network regresses depth divided by a scale (10 m, or the image's own maximum) from one image; the loss compares it
with measured depth wherever there is some. Everything that the compared models share stands here; the networks are in
``networks/``, the losses in ``losses/``.

Paper: "Monocular depth estimation: supervised models and losses" (a student report on NYU Depth v2 with seven models
and three losses), and Alhashim & Wonka, "High Quality Monocular Depth Estimation via Transfer Learning",
https://arxiv.org/abs/1812.11941, for DenseDepth; Eigen et al., https://arxiv.org/abs/1406.2283, for the scale-invariant
log loss; Ranftl et al., https://arxiv.org/abs/1907.01341, for the affine-invariant losses.

Deviations:
    - The report does not say how depth was scaled to [0, 1]; the data modules offer both readings.
    - Outputs may be passed through an exponential (``activation: exp``), which keeps them positive; the report's
      rows use the plain linear output.
    - Depth may be predicted for a canonical camera (``canonical_focal_px``) and brought to the image's own by its focal
      length: one picture taken with another focal length shows the same scene nearer or farther, which no network can
      tell from the pixels alone. After Yin et al., "Metric3D", https://arxiv.org/abs/2307.10984, equation 2; the
      report's rows do without.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from geometry.camera import intrinsics_from_field_of_view
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES
from lightning_modules.tasks.batch_needs import DEPTH_AND_CAMERA, IMAGES, Loop, Need, check_measured
from lightning_modules.tasks.depth import DepthModule
from losses.composite import LossConstants, select
from structures.batch import DepthBatch

RELATIVE_LOSSES = frozenset({"ssi", "ssi_trimmed", "ssi_gradient", "ilnr", "ilnr_gradient"})
"""Losses after which scale and shift of the prediction mean nothing."""


class SupervisedDepth(DepthModule):
    """A depth network trained on measured depth.

    Args:
        network: Maps an image ``(B, 3, H, W)`` in [0, 1] to scaled depth ``(B, 1, H, W)``.
        loss_weights: Loss terms by name with their weights: ``l1``, ``mse``, ``rmse``, ``berhu``, ``gradient``,
            ``silog``, ``ssim``, ``ssi``, ``ssi_trimmed``, ``ssi_gradient``, ``ilnr``, ``ilnr_gradient`` (see
            ``losses/composite.py``). The report's models use L1. The ``ssi`` losses leave scale and shift open and
            the ``ilnr`` losses teach depth normalised to mean 0, so that neither gives metres: evaluate with
            ``evaluation: {alignment: least_squares}``.
        loss_constants: Constants of the losses that differ from their defaults, by loss and name.
        depth_scale_m: Metres that a network output of 1 stands for when a lone image is predicted; during training
            and evaluation the data's own ``depth_scale_m`` is used.
        canonical_focal_px: Focal length, in pixels of the network's input, of the camera that the network predicts for;
            its output times (focal length / canonical focal length) is depth. None predicts depth as it is.
        activation: ``linear`` takes the network's output as scaled depth, ``exp`` takes it as its logarithm.
        base: Arguments of :class:`DepthModule`.

    Attributes:
        assumed_field_of_view_degrees: Horizontal field of view of lone images without intrinsics: that of the
            training's data, where the module comes from a checkpoint.

    Raises:
        ValueError: If a loss term is unknown (the message lists the known ones) or a length is not positive.
    """

    paper_weights: ClassVar[Mapping[str, float]] = {"l1": 1.0}

    def __init__(
        self,
        network: nn.Module,
        loss_constants: LossConstants | None = None,
        depth_scale_m: float = 10.0,
        canonical_focal_px: float | None = None,
        activation: Literal["linear", "exp"] = "linear",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        for name, length in (("depth_scale_m", depth_scale_m), ("canonical_focal_px", canonical_focal_px)):
            if length is not None and not (math.isfinite(length) and length > 0):
                raise ValueError(f"{name} is {length}, but must be a positive number")
        self.losses = select(list(self.loss_weights), loss_constants)
        self.network = network
        self.depth_scale_m = depth_scale_m
        self.canonical_focal_px = canonical_focal_px
        self.activation = activation
        self.assumed_field_of_view_degrees = USUAL_FIELD_OF_VIEW_DEGREES

    @property
    def scale_known(self) -> bool:
        """Whether a loss compares metres: those that leave scale and shift open do not."""
        return any(weight > 0 for name, weight in self.loss_weights.items() if name not in RELATIVE_LOSSES)

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """Depth to learn from, and the intrinsics."""
        return (IMAGES,) if loop == "predict" else (IMAGES, DEPTH_AND_CAMERA)

    def check_truth(self, batch: DepthBatch) -> None:
        """Refuse to train without a single measured pixel: every loss would be zero."""
        check_measured(batch["depth_mask"], paper=self.paper, data=self.data_name)

    def canonical_depth(self, image: Tensor) -> Tensor:
        """Scaled depth ``(B, 1, H, W)`` for the canonical camera, of an image ``(B, 3, H, W)`` in [0, 1]."""
        output = self.network(image)
        return output.exp() if self.activation == "exp" else output

    def to_own_camera(self, K: Tensor) -> Tensor | float:
        """Factor from depth of the canonical camera to that of ``K`` ``(B, 3, 3)``, ``(B, 1, 1, 1)``.

        A K that was made up because nobody knows the camera is used like any other, in training, test and prediction
        alike: the field of view that it is made up from stands in the checkpoint.
        """
        if self.canonical_focal_px is None:
            return 1.0
        return ((K[:, 0, 0] * K[:, 1, 1]).sqrt() / self.canonical_focal_px).view(-1, 1, 1, 1)

    def forward(self, image: Tensor, K: Tensor | None = None) -> Tensor:
        """Depth in metres; negative outputs become 0.

        Args:
            image: float32 ``(B, 3, H, W)``, RGB in [0, 1].
            K: float32 ``(B, 3, 3)``, pixels, used with ``canonical_focal_px`` alone; None is the camera of
                ``assumed_field_of_view_degrees``.

        Returns:
            float32 ``(B, 1, H, W)``.
        """
        if K is None:
            view = math.radians(self.assumed_field_of_view_degrees)
            K = intrinsics_from_field_of_view(view, height=image.shape[2], width=image.shape[3])[None].to(image.device)
        return self.canonical_depth(image).clamp(min=0) * self.to_own_camera(K) * self.depth_scale_m

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Depth ``(B, 1, H, W)`` in metres, with the intrinsics where the batch has them."""
        return self.with_flip(lambda one: self(one["image"], one.get("K")), batch)

    def predict_depth(self, batch: DepthBatch) -> Tensor:
        """Depth ``(B, 1, H, W)`` in metres, unclamped, in the scale that the data gives."""
        scale_m = batch["depth_scale_m"].view(-1, 1, 1, 1)
        return self.canonical_depth(batch["image"]) * self.to_own_camera(batch["K"]) * scale_m

    def loss_terms(self, batch: DepthBatch) -> dict[str, Tensor]:
        """The chosen losses between scaled prediction and scaled truth, for the canonical camera, on valid pixels."""
        prediction = self.canonical_depth(batch["image"])
        target = batch["depth"] / (batch["depth_scale_m"].view(-1, 1, 1, 1) * self.to_own_camera(batch["K"]))
        return {name: loss(prediction, target=target, mask=batch["depth_mask"]) for name, loss in self.losses.items()}
