"""Kinds of ground truth in mixed data: metric, up to scale and shift (in depth or disparity), or ordinal.

Affine ground truth of an image is ``a D + b`` or ``a / D + b`` with unknown ``a > 0`` and ``b``.
"""

import enum
from typing import NotRequired

from torch import Tensor

from structures.batch import DepthBatch


class DepthKind(enum.IntEnum):
    """Kind of a sample's ground truth; YAML files and manifests use the lower-case name."""

    METRIC = 0
    """Depth in metres."""
    AFFINE_DEPTH = 1
    """``a D + b`` with unknown a > 0 and b of each image: larger is farther."""
    AFFINE_DISPARITY = 2
    """``a / D + b`` with unknown a > 0 and b of each image: larger is nearer."""
    ORDINAL = 3
    """Only the order of values is meaningful: larger is farther."""

    @classmethod
    def from_name(cls, name: str) -> "DepthKind":
        """Kind of a name such as ``affine_depth``.

        Raises:
            ValueError: If there is no such kind; the message lists all kinds.
        """
        try:
            return cls[name.upper()]
        except KeyError:
            known = ", ".join(kind.name.lower() for kind in cls)
            raise ValueError(f"kind of ground truth '{name}' is not known; choose among {known}.") from None


class MixedBatch(DepthBatch):
    """A batch of samples with ground truth of different kinds.

    ``depth`` and ``depth_mask`` are in metres where the kind is ``METRIC``, and 0 and False elsewhere. Batches for
    evaluation have depth in metres and no ``truth``.
    """

    truth: NotRequired[Tensor]
    """float32 ``(B, 1, H, W)`` in the unit of the sample's kind, 0 outside ``truth_mask``."""
    truth_mask: NotRequired[Tensor]
    """bool ``(B, 1, H, W)``, True where ``truth`` was measured; unlike in ``depth``, 0 may be a measurement."""
    kind: NotRequired[Tensor]
    """int64 ``(B,)``, a :class:`DepthKind`."""
    source: NotRequired[Tensor]
    """int64 ``(B,)``, index of the source (or domain) of the sample, in the order of the configuration."""
