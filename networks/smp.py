"""Any encoder-decoder of segmentation_models_pytorch as a depth network."""

from typing import Any

import huggingface_hub
import segmentation_models_pytorch as segmentation_models
import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from networks.blocks import init_head
from networks.encoders import check_image
from networks.weights import (
    OFFLINE_ALTERNATIVES,
    cached_hub_file,
    load_bundled,
    load_encoder_file,
    load_strictly,
    read_state_dict,
    require_hub,
)

_TIMM_PREFIX = "tu-"
_CLASSIFIER_NAMES = frozenset({"fc_weight", "fc_bias", "classifier_weight", "classifier_bias"})
"""Parameters of a classifier that are not part of the library's encoders."""


class SMPDepth(nn.Module):
    """An architecture and an encoder of segmentation_models_pytorch, both by name, with one output channel.

    https://github.com/qubvel-org/segmentation_models.pytorch. Nearest upsampling, widths and initialisation of the
    decoder are the library's; the head's first weights and bias are ours, as in the other networks.

    Parameters: unet on resnet34 24,436,369; unet on tu-tf_efficientnet_lite0 5,198,161.

    In architectures that use a shallower stage of the encoder (such as pspnet), the rest of it has no gradients.

    Args:
        arch: the library's architecture, such as ``unet``, ``fpn``, ``unetplusplus``, ``deeplabv3plus``.
        encoder_name: the library's encoder, such as ``resnet34``, or ``tu-`` and any timm name; a Swin
            (``tu-swin_large_patch4_window7_224``) and, with ``arch: dpt``, a ViT (``tu-vit_large_patch16_224``) take
            images of any size.
        encoder_weights: ``"imagenet"`` (hub), ``"bundled"`` (``tu-tf_efficientnet_lite0`` to ``_lite2``), None or the
            path of a state-dict file of the encoder or, for ``tu-`` encoders and the ResNets, of the whole classifier.
        head_bias: scaled depth that the head predicts before training.

    Attributes:
        stride: the height and width of an image must be multiples of it.

    Raises:
        ValueError: unknown architecture or encoder, or weights that do not exist for it or do not fit.
        FileNotFoundError: ``encoder_weights`` is a path and no such file exists.
        RuntimeError: ``"imagenet"`` while the hub cannot be reached and its cache lacks the file.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        arch: str = "unet",
        encoder_name: str = "resnet34",
        *,
        encoder_weights: str | None = "imagenet",
        head_bias: float = 0.3,
    ) -> None:
        super().__init__()
        architectures = segmentation_models.MODEL_ARCHITECTURES_MAPPING
        if arch.lower() not in architectures:
            raise ValueError(f"Architecture {arch!r} is unknown; allowed are {', '.join(sorted(architectures))}.")
        timm_name = encoder_name.removeprefix(_TIMM_PREFIX) if encoder_name.startswith(_TIMM_PREFIX) else None
        known = timm.is_model(timm_name) if timm_name else encoder_name in segmentation_models.encoders.encoders
        if not known:
            raise ValueError(
                f"Encoder {encoder_name!r} is unknown to segmentation_models_pytorch; try resnet34, or 'tu-' and a "
                "timm name such as tu-tf_efficientnet_lite0."
            )
        model = _without_unused(_build(arch, encoder_name, timm_name, encoder_weights))
        self.stride = int(model.encoder.output_stride)
        convs = [layer for layer in model.segmentation_head.modules() if isinstance(layer, nn.Conv2d)]
        init_head(convs[-1], head_bias)
        self.model: nn.Module = model
        mean, std = _normalisation(encoder_name, timm_name, encoder_weights)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Scaled depth of images.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], H and W multiples of `stride`.

        Returns:
            (B, 1, H, W) scaled depth, unbounded.

        Raises:
            ValueError: another shape.
        """
        check_image(image, self.stride)
        depth: Tensor = self.model((image - self.mean) / self.std)
        return depth


def _build(arch: str, encoder_name: str, timm_name: str | None, weights: str | None) -> Any:
    """The library's model with the weights of the encoder."""
    if weights == "imagenet":
        return _build_imagenet(arch, encoder_name, timm_name)
    options = _any_size(timm_name)
    model = segmentation_models.create_model(
        arch, encoder_name=encoder_name, encoder_weights=None, classes=1, **options
    )
    if weights == "bundled":
        load_bundled(model.encoder.model if timm_name else model.encoder, encoder_name=timm_name or encoder_name)
    elif weights is not None and timm_name:
        load_encoder_file(model.encoder.model, weights, encoder_name=timm_name)
    elif weights is not None:
        load_strictly(model.encoder, read_state_dict(weights), source=weights, ignorable=_CLASSIFIER_NAMES)
    return model


def _build_imagenet(arch: str, encoder_name: str, timm_name: str | None) -> Any:
    """The library's model with ImageNet weights from the hub or its cache; fails fast if the hub is unreachable."""
    if timm_name:
        cached = cached_hub_file(timm_name) is not None
        weights: str | bool = True
    else:
        settings = segmentation_models.encoders.encoders[encoder_name]["pretrained_settings"]
        if "imagenet" not in settings:
            raise ValueError(f"Encoder {encoder_name!r} has no 'imagenet' weights, only {', '.join(settings)}.")
        source = settings["imagenet"]
        found = huggingface_hub.try_to_load_from_cache(
            source["repo_id"], "model.safetensors", revision=source["revision"]
        )
        cached = isinstance(found, str)
        weights = "imagenet"
    if not cached:
        require_hub(encoder_name)
    try:
        return segmentation_models.create_model(
            arch, encoder_name=encoder_name, encoder_weights=weights, classes=1, **_any_size(timm_name)
        )
    except Exception as error:  # the hub's client raises a dozen unrelated types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RuntimeError(
            f"ImageNet weights of {encoder_name!r} could not be loaded ({reason}); {OFFLINE_ALTERNATIVES}."
        ) from error


def _any_size(timm_name: str | None) -> dict[str, bool]:
    """Options that let a transformer of timm, which is built for one size, take images of any size."""
    if timm_name is not None and "swin" in timm_name:
        return {"strict_img_size": False, "always_partition": True}
    return {"dynamic_img_size": True} if timm_name is not None and timm_name.startswith("vit_") else {}


def _without_unused(model: Any) -> Any:
    """The model with the last norm and classifier of a ViT frozen: nothing uses them, and DDP waits for gradients."""
    transformer = getattr(model.encoder, "model", None)
    if isinstance(transformer, VisionTransformer):
        for part in (transformer.norm, transformer.fc_norm, transformer.head):
            part.requires_grad_(False)
    return model


def _normalisation(
    encoder_name: str, timm_name: str | None, weights: str | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that the encoder's weights expect of an RGB image in [0, 1]."""
    if timm_name:
        config = timm.get_pretrained_cfg(timm_name)
        if config is not None:
            return tuple(config.mean), tuple(config.std)
    elif weights == "imagenet":
        wanted = segmentation_models.encoders.get_preprocessing_params(encoder_name)
        if wanted["input_space"] != "RGB" or wanted["input_range"] != [0, 1]:
            raise ValueError(
                f"Encoder {encoder_name!r} needs {wanted['input_space']} in {wanted['input_range']}, "
                "but only RGB in [0, 1] is supported."
            )
        return tuple(wanted["mean"]), tuple(wanted["std"])
    return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
