"""Hugging Face networks for segmentation and depth as modules: images in [0, 1] in, class ids or depth out.

The package ``transformers`` is an optional extra; it is imported when a network is built, not before.
"""

import importlib
import inspect
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geometry.written_depth import depth_from_inverse
from networks.weights import hub_reachable

_INVERSE_MODEL_TYPES = ("dpt",)
"""Model types whose usual checkpoints (MiDaS) predict relative inverse depth without a flag in their configuration."""


def _load(source: str, auto_class: str) -> tuple[Any, nn.Module]:
    """Image processor and network, frozen and in eval mode, from a folder, the hub's cache or the hub."""
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError(
            "Networks of Hugging Face need the package transformers: pip install 'plumbline[teacher]'."
        ) from error
    # The hub's client retries for a long time.
    local = Path(source).is_dir() or not hub_reachable()
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            source, local_files_only=local, trust_remote_code=False
        )
        network, info = getattr(transformers, auto_class).from_pretrained(
            source,
            local_files_only=local,
            trust_remote_code=False,  # a model of the hub may bring Python files of its own
            use_safetensors=True,  # the older format is a pickle
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # its loaders raise a dozen unrelated types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"'{source}' has to be a folder or the id of a model of the hub that {auto_class} can load: {reason}"
        ) from error
    if info["missing_keys"]:
        # transformers would initialise them randomly and only warn.
        raise ValueError(
            f"'{source}' lacks {len(info['missing_keys'])} weights of a {type(network).__name__}, such as "
            f"{sorted(info['missing_keys'])[0]}: it was trained for another task."
        )
    return processor, cast(nn.Module, network.eval().requires_grad_(False))


def _check(image: Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"The image must be (B, 3, H, W), got {tuple(image.shape)}.")


class HuggingFaceSegmenter(nn.Module):
    """A network of ``AutoModelForSemanticSegmentation``.

    Each image is resized and normalised by the network's own processor settings (but not cropped); logits are resized
    bilinearly to the image's size before the arg-max. Class ids are shifted by one, so that 0 means "none".

    Args:
        source: folder with ``config.json``, weights and ``preprocessor_config.json``, or the id of a model of the hub.

    Attributes:
        class_names: name of each class by its (shifted) id.

    Raises:
        ImportError: transformers is not installed.
        ValueError: there is no such model, or it is for another task.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.processor, self.network = _load(source, "AutoModelForSemanticSegmentation")
        labels: dict[int, str] = cast(Any, self.network).config.id2label
        self.class_names = {int(index) + 1: name for index, name in sorted(labels.items())}

    def forward(self, image: Tensor) -> Tensor:
        """Class ids of all pixels.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], any size.

        Returns:
            int64 (B, H, W), class ids from 1.

        Raises:
            ValueError: another shape.
        """
        _check(image)
        # A crop would misalign the result and the image.
        inputs = self.processor(images=image, do_rescale=False, do_center_crop=False, return_tensors="pt")
        logits = self.network(pixel_values=inputs["pixel_values"].to(image.device)).logits
        logits = F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return logits.argmax(dim=1) + 1


class HuggingFaceDepth(nn.Module):
    """A network of ``AutoModelForDepthEstimation``.

    Networks of relative depth predict inverse depth up to scale and shift. Its inverse is returned, with a shift of
    zero, in units of the nearest depth of each image.

    Args:
        source: folder with ``config.json``, weights and ``preprocessor_config.json``, or the id of a model of the hub.
        inverse: whether the network predicts inverse depth; None follows its configuration
            (``depth_estimation_type: relative``) and assumes that every ``dpt`` is a MiDaS. Pass False for a metric
            DPT.
        common_unit: whether relative depth keeps the network's own unit, the same for all images, as needed for a
            calibration of one shift for all; values may then be very small.

    Attributes:
        inverse: whether the network predicts relative inverse depth.

    Raises:
        ImportError: transformers is not installed.
        ValueError: there is no such model, or it is for another task.
    """

    def __init__(self, source: str, *, inverse: bool | None = None, common_unit: bool = False) -> None:
        super().__init__()
        self.common_unit = common_unit
        self.processor, self.network = _load(source, "AutoModelForDepthEstimation")
        config: Any = self.network.config
        relative = getattr(config, "depth_estimation_type", None) == "relative"
        self.inverse = relative or config.model_type in _INVERSE_MODEL_TYPES if inverse is None else inverse

    def forward(self, image: Tensor) -> Tensor:
        """Depth of images.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], any size.

        Returns:
            (B, 1, H, W) depth, never negative: metres, or multiples of the image's nearest depth if `inverse`.

        Raises:
            ValueError: another shape.
        """
        _check(image)
        sizes = [tuple(image.shape[-2:])] * len(image)
        inputs = self.processor(images=image, do_rescale=False, return_tensors="pt")
        outputs = self.network(pixel_values=inputs["pixel_values"].to(image.device))
        finish = self.processor.post_process_depth_estimation
        # Processors that pad need the original size to remove the padding.
        padded = {"source_sizes": sizes} if "source_sizes" in inspect.signature(finish).parameters else {}
        results = finish(outputs, target_sizes=sizes, **padded)
        values = torch.stack([result["predicted_depth"] for result in results]).unsqueeze(1).clamp(min=0)
        return depth_from_inverse(values, common_unit=self.common_unit) if self.inverse else values
