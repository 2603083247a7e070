"""Messages about images and batches that are too small for a network, in place of PyTorch's own."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

_SIZES = "data.init_args.image_size"
_ONE_VALUE = "Expected more than 1 value per channel"
_TOO_SMALL = re.compile(
    r"Padding size should be less than|Kernel size can't be greater than actual input|Output size is too small|"
    r"non-?positive output|Padding value causes wrapping|must be greater than zero|Expected .*non-zero size"
)
_UNEQUAL_MAPS = re.compile(r"Sizes of tensors must match|The size of tensor a|Wrong input shape")
_OF_A_NETWORK = re.compile(r"Image height and width must be multiples of|The coarsest map is")


@contextmanager
def explain_size_errors(batch: Any) -> Iterator[None]:
    """Context that replaces an error caused by the size of images or batch by one that names the settings.

    Args:
        batch: The batch in use; the sizes in the message are those of its ``image``.

    Raises:
        ValueError: In place of such an error; other errors are not changed.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        reason = size_reason(str(error), batch)
        if reason is None:
            raise
        raise ValueError(reason) from error


def size_reason(text: str, batch: Any) -> str | None:
    """The problem with the sizes of a batch, given the text of an error; None if the error has another cause.

    Args:
        text: The error's text.
        batch: A batch with ``image`` ``(B, 3, H, W)``.
    """
    image = batch.get("image") if isinstance(batch, Mapping) else None
    if not isinstance(image, Tensor) or image.ndim != 4:
        return None
    count, height, width = len(image), *image.shape[-2:]
    seen = f"a batch of {count} image{'s' if count > 1 else ''} of {height}x{width}"
    if _ONE_VALUE in text:
        return (
            f"batch norm needs more than one value a channel, but {seen} leaves one at the network's coarsest level: "
            f"raise data.init_args.batch_size to at least 2 or {_SIZES} to at least 64x64"
        )
    if _OF_A_NETWORK.search(text):
        return f"{text.rstrip('.')} ({_SIZES} is [{height}, {width}])"
    if _TOO_SMALL.search(text):
        return f"images of {height}x{width} are too small for this network or its losses: raise {_SIZES}"
    if _UNEQUAL_MAPS.search(text) and (height % 32 or width % 32):
        up = [-(-side // 32) * 32 for side in (height, width)]
        return (
            f"images of {height}x{width} do not divide by the network's strides: set {_SIZES} to multiples of 32, such "
            f"as [{up[0]}, {up[1]}]"
        )
    return None
