"""CondInst: instance segmentation with a mask head whose weights are predicted for each instance."""

from itertools import pairwise
from math import log
from typing import NamedTuple, Unpack

import torch
from torch import Tensor, nn

from geometry.boxes import box_masks, pixel_locations
from geometry.stencils import at_least_float32
from networks.condinst_inference import Candidates, DetectionLimits, decode_boxes, detect, fit_boxes, paste_masks
from networks.detection_backbone import COARSEST_STRIDE, DetectionBackbone
from networks.dynamic_mask_head import DynamicMaskHead, MaskOutputs
from networks.encoders import check_image
from networks.fcos_head import FCOSHead, HeadOutputs
from networks.fpn import FeaturePyramid
from networks.mask_branch import MaskBranch

MASK_LEVELS = 3
"""Number of pyramid levels of the mask branch, at most those of the backbone."""


class CondInstOutputs(NamedTuple):
    """Raw outputs of a batch; L is the number of locations of all levels, finest level first, in row-major order."""

    head: HeadOutputs
    """Class logits, distances, quality and mask-head parameters at every location."""
    mask_features: Tensor
    """(B, mask_channels, H / strides[0], W / strides[0])"""
    locations: Tensor
    """(L, 2) image positions (x, y), pixels."""
    strides: Tensor
    """(L,) stride of each location's level, pixels."""
    sizes: Tensor
    """(L,) size of interest of each location's level, pixels."""
    size_ranges: Tensor
    """(L, 2) smallest and largest distance to a box edge at each location's level, inclusive, pixels."""
    level_lengths: tuple[int, ...]
    """Number of locations of each level."""


class CondInst(nn.Module):
    """Backbone, feature pyramid, FCOS head with controller, mask branch and dynamic mask head.

    Tian et al. 2020, https://arxiv.org/abs/2003.05664, with the 16 mask channels of BoxInst
    (https://arxiv.org/abs/2012.02310); the depth-guided head is that of https://arxiv.org/abs/2403.01214. Losses and
    targets are not part of it.

    Parameters with the defaults: 34,259,731, and 20,745 more with the depth-guided head.

    Deviations: the released models start from Caffe's ResNet weights (BGR, stride in the 1x1 convolution); these from
    timm's, with timm's normalisation. The maps of transformers are normalised. A distance exactly at a size of interest
    belongs to both levels, as in the papers.

    Args:
        n_classes: number of classes, without background. None is allowed in configurations only; it is replaced by the
            number of classes of the data before the network is built.
        encoder: see `networks.detection_backbone.DetectionBackbone`.
        encoder_weights: ``"imagenet"``, ``"bundled"`` (``tf_efficientnet_lite0`` to ``_lite2``), None or the path of a
            state-dict file.
        frozen_norm: see `DetectionBackbone`.
        frozen_to_stride: see `DetectionBackbone`.
        strides: strides of the levels, each double the one before. Those up to 32 are maps of the backbone, larger ones
            are computed by the pyramid. The mask features have the first stride, masks half of it; small images need
            finer levels than the paper's.
        sizes_of_interest: for each level, the largest distance from a location to an edge of its box, pixels (the last
            level has no limit); the relative coordinates are divided by it, too. The paper's are for images with a
            short side of 800.
        channels: channels of pyramid and head.
        head_convs: convolutions of each tower of the head.
        norm_groups: groups of the head's group norms.
        controller_std: see `networks.fcos_head.FCOSHead`.
        mask_channels: channels of the shared mask features.
        mask_branch_channels: channels inside the mask branch.
        mask_branch_convs: convolutions of the mask branch's tower.
        dynamic_channels: channels of the hidden layers of the mask heads.
        depth_guided: whether the mask heads have a depth layer.
        first_depth: nearness in (0, 1) that the depth layer predicts before training. It multiplies the mask's logit,
            so that 0 would suppress the mask.

    Attributes:
        stride: the height and width of an image must be multiples of it.
        mask_stride: stride of the mask logits.

    Raises:
        ValueError: an argument is out of range, strides or sizes are inconsistent, and as `DetectionBackbone`.
        FileNotFoundError: ``encoder_weights`` is a path and no such file exists.
        RuntimeError: ``"imagenet"`` while the hub cannot be reached and its cache lacks the file.
    """

    level_strides: Tensor
    level_sizes: Tensor
    level_ranges: Tensor

    def __init__(
        self,
        n_classes: int | None,
        *,
        encoder: str = "resnet50",
        encoder_weights: str | None = "imagenet",
        frozen_norm: bool = True,
        frozen_to_stride: int | None = 4,
        strides: tuple[int, ...] = (8, 16, 32, 64, 128),
        sizes_of_interest: tuple[float, ...] = (64, 128, 256, 512, 1024),
        channels: int = 256,
        head_convs: int = 4,
        norm_groups: int = 32,
        controller_std: float = 0.01,
        mask_channels: int = 16,
        mask_branch_channels: int = 128,
        mask_branch_convs: int = 4,
        dynamic_channels: int = 8,
        depth_guided: bool = False,
        first_depth: float = 0.7,
    ) -> None:
        super().__init__()
        if n_classes is None:
            raise ValueError("n_classes is None, but a network needs the number of classes of its data, at least 1.")
        _check_levels(strides, sizes_of_interest)
        if not 0 < first_depth < 1:
            raise ValueError(f"first_depth must lie between 0 and 1, got {first_depth}.")
        from_backbone = tuple(stride for stride in strides if stride <= COARSEST_STRIDE)
        self.strides = tuple(strides)
        self.stride = COARSEST_STRIDE
        self.mask_stride = strides[0] // 2
        self.backbone = DetectionBackbone(
            encoder,
            encoder_weights=encoder_weights,
            strides=from_backbone,
            frozen_norm=frozen_norm,
            frozen_to_stride=frozen_to_stride,
        )
        self.pyramid = FeaturePyramid(self.backbone.channels, channels, extra_levels=len(strides) - len(from_backbone))
        self.mask_branch = MaskBranch(
            channels,
            mask_channels,
            levels=min(MASK_LEVELS, len(from_backbone)),
            channels=mask_branch_channels,
            convs=mask_branch_convs,
        )
        self.mask_head = DynamicMaskHead(
            mask_channels, stride=strides[0], channels=dynamic_channels, depth_guided=depth_guided
        )
        self.head = FCOSHead(
            n_classes,
            channels=channels,
            levels=len(strides),
            controller_parameters=self.mask_head.parameters_of_mask,
            depth_parameters=self.mask_head.parameters_of_depth,
            convs=head_convs,
            norm_groups=norm_groups,
            controller_std=controller_std,
        )
        if self.head.depth_controller is not None:
            bias = self.head.depth_controller.bias
            assert bias is not None
            with torch.no_grad():
                bias[-1] = log(first_depth / (1 - first_depth))  # the weights come first
        sizes = torch.tensor(sizes_of_interest, dtype=torch.float32)
        bounds = torch.cat((sizes.new_tensor([-1.0]), sizes[:-1], sizes.new_tensor([float("inf")])))
        self.register_buffer("level_strides", torch.tensor(strides, dtype=torch.float32), persistent=False)
        self.register_buffer("level_sizes", sizes, persistent=False)
        self.register_buffer("level_ranges", torch.stack((bounds[:-1], bounds[1:]), dim=1), persistent=False)

    def forward(self, image: Tensor) -> CondInstOutputs:
        """Raw outputs; the mask heads are applied to selected locations by :meth:`masks`.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], H and W multiples of 32.

        Returns:
            Raw outputs.

        Raises:
            ValueError: another shape.
        """
        check_image(image, self.stride)
        return self.located(*self.maps(image), size=(image.shape[-2], image.shape[-1]))

    def maps(self, image: Tensor) -> tuple[HeadOutputs, Tensor]:
        """The part of the outputs that depends on weights: those of the head, and the mask features."""
        levels = self.pyramid(self.backbone(image))
        return self.head(levels), self.mask_branch(levels)

    def located(self, head: HeadOutputs, mask_features: Tensor, *, size: tuple[int, int]) -> CondInstOutputs:
        """Raw outputs from :meth:`maps` of images of a size (height, width), with the locations and their levels."""
        sizes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in self.strides]
        lengths = tuple(height * width for height, width in sizes)
        device = mask_features.device
        level = torch.cat([torch.full((n,), i, device=device) for i, n in enumerate(lengths)])
        places = [
            pixel_locations(size, stride, device=device) for size, stride in zip(sizes, self.strides, strict=True)
        ]
        return CondInstOutputs(
            head=head,
            mask_features=mask_features,
            locations=torch.cat(places).to(self.level_strides),
            strides=self.level_strides[level],
            sizes=self.level_sizes[level],
            size_ranges=self.level_ranges[level],
            level_lengths=lengths,
        )

    @staticmethod
    def boxes(outputs: CondInstOutputs) -> Tensor:
        """Predicted boxes of all locations, (B, L, 4) xyxy in pixels of the input, not clipped."""
        return decode_boxes(outputs.locations, outputs.strides, outputs.head.ltrb)

    @staticmethod
    def probabilities(outputs: CondInstOutputs) -> Tensor:
        """Class probability times quality, (B, L, n_classes); column c belongs to label c + 1."""
        quality = at_least_float32(outputs.head.quality).sigmoid()
        return at_least_float32(outputs.head.logits).sigmoid() * quality[..., None]

    def masks(self, outputs: CondInstOutputs, *, image: Tensor, location: Tensor) -> MaskOutputs:
        """Mask logits of some locations.

        Args:
            outputs: of `forward`.
            image: int64 (N,), image within the batch.
            location: int64 (N,), location within the L of the image.

        Returns:
            Logits and depth (None unless depth-guided), (N, 1, H / mask_stride, W / mask_stride) in at least float32.
        """
        return self.mask_head(
            outputs.mask_features,
            parameters=outputs.head.parameters[image, location],
            image_index=image,
            locations=outputs.locations[location],
            sizes=outputs.sizes[location],
        )

    @torch.no_grad()
    def candidates(self, outputs: CondInstOutputs, **limits: Unpack[DetectionLimits]) -> list[Candidates]:
        """Detections of every image in pixels of the input, without masks; see `networks.condinst_inference.detect`.

        Args:
            outputs: of `forward`.
            limits: see `networks.condinst_inference.DetectionLimits`.
        """
        return [
            detect(probabilities, boxes, level_lengths=outputs.level_lengths, **limits)
            for probabilities, boxes in zip(self.probabilities(outputs), self.boxes(outputs), strict=True)
        ]

    @torch.no_grad()
    def instances(
        self,
        outputs: CondInstOutputs,
        *,
        scale: Tensor | None = None,
        original_size: Tensor | None = None,
        cut: bool = False,
        **limits: Unpack[DetectionLimits],
    ) -> list[dict[str, Tensor]]:
        """Detections of every image with masks, at the size of the original image.

        Args:
            outputs: of `forward`.
            scale: (B, 2) factors (height, width) by which the image was resized before padding; None for 1.
            original_size: (B, 2) height and width before resizing; None for the size of the input, padding included.
            cut: whether masks are cut to the pixels of their boxes.
            limits: see `networks.condinst_inference.DetectionLimits`.

        Returns:
            For each image torchvision's keys: ``boxes`` (M, 4) xyxy in pixels of the original image, cut to it;
            ``labels`` int64 (M,) from 1; ``scores`` (M,) falling; ``masks`` bool (M, H, W). Detections of which
            nothing is left in the image are dropped; M may be 0.

        Raises:
            ValueError: only one of `scale` and `original_size` is given, or an image does not fit into the input.
        """
        padded = (outputs.mask_features.shape[-2] * self.strides[0], outputs.mask_features.shape[-1] * self.strides[0])
        count = len(outputs.mask_features)
        sizes = _sizes(scale, original_size, padded=padded, count=count)
        candidates = self.candidates(outputs, **limits)
        results = []
        for i, (found, (resized, original)) in enumerate(zip(candidates, sizes, strict=True)):
            boxes, kept = fit_boxes(found.boxes, resized=resized, original=original)
            location = found.location[kept]
            logits = self.masks(outputs, image=torch.full_like(location, i), location=location).logits
            masks = paste_masks(logits, upsampling=self.mask_stride, resized=resized, original=original)
            if cut:
                masks = masks & box_masks(boxes[kept], original)
            results.append(
                {"boxes": boxes[kept], "labels": found.labels[kept], "scores": found.scores[kept], "masks": masks}
            )
        return results


def _check_levels(strides: tuple[int, ...], sizes: tuple[float, ...]) -> None:
    """Raise an error unless strides double and sizes increase."""
    doubling = all(b == 2 * a for a, b in pairwise(strides))
    if not strides or strides[0] not in (2, 4, 8, 16, 32) or not doubling:
        raise ValueError(f"The strides are {strides}, but each must double the one before, from 2, 4, 8, 16 or 32 on.")
    growing = all(0 < a < b for a, b in pairwise(sizes))
    if len(sizes) != len(strides) or not growing or not sizes[0] > 0:
        raise ValueError(
            f"sizes_of_interest are {sizes}, but need one positive size for each of {len(strides)} levels, growing."
        )


def _sizes(
    scale: Tensor | None, original_size: Tensor | None, *, padded: tuple[int, int], count: int
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The (height, width) of each image within the network's input and of the original."""
    if (scale is None) != (original_size is None):
        raise ValueError("scale and original_size belong together, but only one of them was given.")
    if scale is None or original_size is None:
        return [(padded, padded)] * count
    resized = (original_size * scale).round().long().tolist()
    sizes = [((h, w), (H, W)) for (h, w), (H, W) in zip(resized, original_size.long().tolist(), strict=True)]
    for (h, w), (H, W) in sizes:
        if not (0 < h <= padded[0] and 0 < w <= padded[1]):
            raise ValueError(
                f"An image of {H}x{W} is {h}x{w} after resizing, but must have pixels and fit into the input of "
                f"{padded[0]}x{padded[1]}."
            )
    return sizes
