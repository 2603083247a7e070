"""Supervised monocular depth: seven networks and a family of losses under one protocol.

A network regresses depth divided by a scale (10 m, or the image's own maximum) from one image; the loss compares it
with measured depth where there is some. This module is what the compared models share; the networks are in
``networks/``, the losses in ``losses/``.

Paper: "Monocular depth estimation: supervised models and losses" (a student report on NYU Depth v2 with seven models
and three losses), and Alhashim & Wonka, "High Quality Monocular Depth Estimation via Transfer Learning",
https://arxiv.org/abs/1812.11941, for DenseDepth; Eigen et al., https://arxiv.org/abs/1406.2283, for the scale-invariant
log loss; Ranftl et al., https://arxiv.org/abs/1907.01341, for the affine-invariant losses.

Deviations:
    - The report does not say how depth was scaled to [0, 1]; the data modules offer both readings.
    - Outputs may be passed through an exponential (``activation: exp``), which keeps them positive; the report's
      rows use the plain linear output.
    - Depth may be predicted for a canonical camera (``canonical_focal_px``) and scaled to the image's camera by its
      focal length, since scale and focal length are ambiguous in a single image. After Yin et al., "Metric3D",
      https://arxiv.org/abs/2307.10984, equation 2; not used in the report's rows.
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
"""Losses that are invariant to scale and shift, or whose target is normalised: the prediction is not metric."""


class SupervisedDepth(DepthModule):
    """A depth network trained on measured depth.

    Args:
        network: Maps an image ``(B, 3, H, W)`` in [0, 1] to scaled depth ``(B, 1, H, W)``.
        loss_weights: Loss terms by name with their weights: ``l1``, ``mse``, ``rmse``, ``berhu``, ``gradient``,
            ``silog``, ``ssim``, ``ssi``, ``ssi_trimmed``, ``ssi_gradient``, ``ilnr``, ``ilnr_gradient`` (see
            ``losses/composite.py``). The report's models use L1. The ``ssi`` losses leave scale and shift
            undetermined and the target of the ``ilnr`` losses is depth normalised to mean 0, so that neither gives
            metres: evaluate with ``evaluation: {alignment: least_squares}``.
        loss_constants: Constants of the losses to override, by loss and name.
        depth_scale_m: Metres of a network output of 1 in the prediction of single images; in training and evaluation
            the data's ``depth_scale_m`` is used.
        canonical_focal_px: Focal length of the canonical camera, in pixels of the network's input; depth is the output
            times (focal length / canonical focal length). None predicts depth directly.
        activation: ``linear`` takes the network's output as scaled depth, ``exp`` takes it as its logarithm.
        base: Arguments of :class:`DepthModule`.

    Attributes:
        assumed_field_of_view_degrees: Horizontal field of view of single images without intrinsics; that of the
            training data if the module is loaded from a checkpoint.

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
        """Whether a loss on metric depth is among the terms, so that predictions are in metres."""
        return any(weight > 0 for name, weight in self.loss_weights.items() if name not in RELATIVE_LOSSES)

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """Images, and outside of prediction depth and intrinsics, too."""
        return (IMAGES,) if loop == "predict" else (IMAGES, DEPTH_AND_CAMERA)

    def check_truth(self, batch: DepthBatch) -> None:
        """Refuse a batch without a measured pixel: every loss would be zero."""
        check_measured(batch["depth_mask"], paper=self.paper, data=self.data_name)

    def canonical_depth(self, image: Tensor) -> Tensor:
        """Scaled depth ``(B, 1, H, W)`` for the canonical camera, of an image ``(B, 3, H, W)`` in [0, 1]."""
        output = self.network(image)
        return output.exp() if self.activation == "exp" else output

    def to_own_camera(self, K: Tensor) -> Tensor | float:
        """Factor ``(B, 1, 1, 1)`` from depth of the canonical camera to depth of the camera ``K`` ``(B, 3, 3)``.

        Intrinsics that are assumed for an unknown camera are used like known ones, in training, test and prediction;
        the assumed field of view is stored in the checkpoint.
        """
        if self.canonical_focal_px is None:
            return 1.0
        return ((K[:, 0, 0] * K[:, 1, 1]).sqrt() / self.canonical_focal_px).view(-1, 1, 1, 1)

    def forward(self, image: Tensor, K: Tensor | None = None) -> Tensor:
        """Depth in metres; negative outputs become 0.

        Args:
            image: float32 ``(B, 3, H, W)``, RGB in [0, 1].
            K: float32 ``(B, 3, 3)``, pixels, used only with ``canonical_focal_px``; None is the camera of
                ``assumed_field_of_view_degrees``.

        Returns:
            float32 ``(B, 1, H, W)``.
        """
        K = self.assumed_intrinsics(image) if K is None else K
        return self.canonical_depth(image).clamp(min=0) * self.to_own_camera(K) * self.depth_scale_m

    def assumed_intrinsics(self, image: Tensor) -> Tensor:
        """K ``(1, 3, 3)`` of images whose camera is unknown, pixels, from ``assumed_field_of_view_degrees``."""
        view = math.radians(self.assumed_field_of_view_degrees)
        K = intrinsics_from_field_of_view(view, height=image.shape[2], width=image.shape[3])
        return K[None].to(image.device)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Depth ``(B, 1, H, W)`` in metres, with the intrinsics of the batch, if any."""
        return self.with_flip(lambda one: self(one["image"], one.get("K")), batch)

    def predict_depth(self, batch: DepthBatch) -> Tensor:
        """Depth ``(B, 1, H, W)`` in metres, unclamped, scaled by the data's ``depth_scale_m``."""
        scale_m = batch["depth_scale_m"].view(-1, 1, 1, 1)
        return self.canonical_depth(batch["image"]) * self.to_own_camera(batch["K"]) * scale_m

    def loss_terms(self, batch: DepthBatch) -> dict[str, Tensor]:
        """The losses between scaled prediction and scaled ground truth, for the canonical camera, on valid pixels."""
        prediction = self.canonical_depth(batch["image"])
        target = batch["depth"] / (batch["depth_scale_m"].view(-1, 1, 1, 1) * self.to_own_camera(batch["K"]))
        return {name: loss(prediction, target=target, mask=batch["depth_mask"]) for name, loss in self.losses.items()}
