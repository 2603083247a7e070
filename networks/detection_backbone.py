"""Backbones of detectors: the input maps of a feature pyramid, with frozen batch norms and frozen first stages."""

from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.layers import freeze_batch_norm_2d
from timm.models import FeatureListNet
from torch import Tensor, nn

from networks.encoders import STRIDES, Encoder
from networks.weights import OFFLINE_ALTERNATIVES, cached_hub_file, load_encoder_file, require_hub

COARSEST_STRIDE = STRIDES[-1]
"""Largest stride of a backbone."""


class PatchEncoder(nn.Module):
    """A timm extractor whose finest map has stride 4 (Swin, ConvNeXt), for images of any size.

    Maps of transformers in channels-last layout are layer-normalised and transposed, as in detectors on Swin.

    Args:
        name: timm's name, such as ``swin_tiny_patch4_window7_224`` or ``convnext_tiny``.
        weights: ``"imagenet"`` (hub), None (random) or the path of a local state-dict file.
        strides: strides of the maps to return, from 4, 8, 16 and 32, finest first.

    Attributes:
        channels: channels of each map.
        strides: stride of each map.

    Raises:
        ValueError: another pyramid, or weights that do not exist for it or do not fit.
        FileNotFoundError: ``weights`` is a path and no such file exists.
        RuntimeError: ``"imagenet"`` while the hub cannot be reached and its cache lacks the file.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, *, weights: str | None = "imagenet", strides: tuple[int, ...] = STRIDES[1:]) -> None:
        super().__init__()
        if not strides or any(stride not in STRIDES[1:] for stride in strides):
            raise ValueError(f"The strides are {strides}, but {name!r} has maps at {STRIDES[1:]}.")
        # Only the requested maps: an unused norm would be a parameter without gradient.
        self.body = _build_patch_body(name, weights, tuple(STRIDES[1:].index(stride) for stride in strides))
        self.strides = tuple(self.body.feature_info.reduction())
        if self.strides != strides:
            raise ValueError(f"Encoder {name!r} has maps at strides {self.strides}, needed are {strides}.")
        self.channels = tuple(self.body.feature_info.channels())
        self.channels_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in self.channels if self.channels_last)
        config: dict[str, Any] = cast(Any, self.body).pretrained_cfg
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps of images, which are normalised first.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], H and W multiples of 32.

        Returns:
            Maps (B, channels[i], H / strides[i], W / strides[i]), finest first.
        """
        maps: list[Tensor] = self.body((image - self.mean) / self.std)
        if self.channels_last:
            maps = [norm(x).permute(0, 3, 1, 2) for norm, x in zip(self.norms, maps, strict=True)]
        return maps


class DetectionBackbone(nn.Module):
    """The maps of an encoder at given strides.

    Args:
        encoder: timm's name: those of `networks.encoders.Encoder`, and those of `PatchEncoder`.
        encoder_weights: see `networks.encoders.Encoder`.
        strides: strides of the maps to return, finest first, each double the one before, at most 32.
        frozen_norm: whether batch norms keep the statistics, scale and shift of their pretrained weights, since small
            batches have noisy statistics. They are then buffers instead of parameters.
        frozen_to_stride: parameters up to the map of this stride are not trained; the usual 4 freezes the stem and the
            first stage. None trains everything.

    Attributes:
        channels: channels of each returned map.

    Raises:
        ValueError: strides that the encoder does not have, a stage that cannot be frozen, and as `Encoder`.
        FileNotFoundError: ``encoder_weights`` is a path and no such file exists.
        RuntimeError: ``"imagenet"`` while the hub cannot be reached and its cache lacks the file.
    """

    def __init__(
        self,
        encoder: str = "resnet50",
        *,
        encoder_weights: str | None = "imagenet",
        strides: tuple[int, ...] = (8, 16, 32),
        frozen_norm: bool = True,
        frozen_to_stride: int | None = 4,
    ) -> None:
        super().__init__()
        self.encoder: Encoder | PatchEncoder
        if _finest_stride(encoder) == STRIDES[1]:
            self.encoder = PatchEncoder(encoder, weights=encoder_weights, strides=strides)
        else:
            # An unknown name or stride is reported by the encoder or the check below.
            levels = STRIDES.index(strides[-1]) + 1 if strides and strides[-1] in STRIDES else len(STRIDES)
            self.encoder = Encoder(encoder, weights=encoder_weights, levels=levels)
        available = self.encoder.strides
        if not strides or list(strides) != [s for s in available if strides[0] <= s <= strides[-1]]:
            raise ValueError(f"The strides {strides} have to be neighbours of {available}, those of {encoder!r}.")
        self.strides = tuple(strides)
        self.first = available.index(strides[0])
        self.last = available.index(strides[-1])
        self.channels = self.encoder.channels[self.first : self.last + 1]
        if frozen_to_stride is not None:
            _freeze(self.encoder.body, frozen_to_stride)
        if frozen_norm:
            self.encoder.body = freeze_batch_norm_2d(self.encoder.body)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps of images.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], H and W multiples of 32.

        Returns:
            Maps (B, channels[i], H / strides[i], W / strides[i]), finest first.
        """
        maps: list[Tensor] = self.encoder(image)
        return maps[self.first : self.last + 1]


def _finest_stride(name: str) -> int | None:
    """Stride of the first map of a timm extractor, None if there is no such extractor."""
    if not timm.is_model(name):
        return None
    try:
        with torch.device("meta"):
            body: Any = timm.create_model(name, pretrained=False, features_only=True)
    except (RuntimeError, IndexError, AssertionError):
        return None
    return int(body.feature_info.reduction()[0])


def _freeze(body: FeatureListNet, stride: int) -> None:
    """Freeze the parameters up to the stage whose map has a stride."""
    stages: dict[int, str] = {stage["reduction"]: stage["module"] for stage in body.feature_info.info}
    stage = stages.get(stride)
    # Extractors flatten `layers.0` to `layers_0`; parameters are registered in the order in which they are used.
    names = [name.replace(".", "_") for name, _ in body.named_parameters()]
    inside = [i for i, name in enumerate(names) if stage is not None and name.startswith(stage.replace(".", "_") + "_")]
    if not inside:
        raise ValueError(f"frozen_to_stride is {stride}, but the encoder has stages with weights at {sorted(stages)}.")
    for parameter in list(body.parameters())[: inside[-1] + 1]:
        parameter.requires_grad_(False)


def _build_patch_body(name: str, weights: str | None, indices: tuple[int, ...]) -> FeatureListNet:
    """Extractor of timm for any image size, with the given weights."""
    # A Swin is built for one size; without this it would reject others, or not shift windows in larger images.
    options: dict[str, Any] = {"features_only": True, "out_indices": indices}
    if "swin" in name:
        options |= {"strict_img_size": False, "always_partition": True}
    if weights == "bundled":
        raise ValueError(f"encoder_weights 'bundled' does not exist for {name!r}; use 'imagenet', null or a path.")
    if weights != "imagenet":
        body = timm.create_model(name, pretrained=False, **options)
        if weights is not None:
            load_encoder_file(body, Path(weights), encoder_name=name)
        return cast(FeatureListNet, body)
    path = cached_hub_file(name)
    if path is None:
        require_hub(name)
    overlay = None if path is None else {"file": path}
    try:
        body = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except Exception as error:  # the hub's client raises a dozen unrelated types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"ImageNet weights of {name!r} could not be loaded ({reason}); {OFFLINE_ALTERNATIVES}."
        raise RuntimeError(message) from error
    return cast(FeatureListNet, body)
