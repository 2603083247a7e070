"""What a measured depth means, for data that mixes sources: metres, or depth or disparity up to what nobody knows.

``truth = a D + b`` or ``truth = a / D + b`` with an unknown ``a > 0`` and ``b`` of each image, or only an order.
"""

import enum
from typing import NotRequired

from torch import Tensor

from structures.batch import DepthBatch


class DepthKind(enum.IntEnum):
    """Kind of a sample's truth; its lower-case name is what YAML files and manifests say."""

    METRIC = 0
    """Depth in metres."""
    AFFINE_DEPTH = 1
    """``a D + b`` with unknown a > 0 and b of each image: larger is farther."""
    AFFINE_DISPARITY = 2
    """``a / D + b`` with unknown a > 0 and b of each image: larger is nearer."""
    ORDINAL = 3
    """Only the order counts: larger is farther."""

    @classmethod
    def from_name(cls, name: str) -> "DepthKind":
        """Return the kind of a name such as ``affine_depth``.

        Raises:
            ValueError: If there is no such kind; the message lists those that are.
        """
        try:
            return cls[name.upper()]
        except KeyError:
            known = ", ".join(kind.name.lower() for kind in cls)
            raise ValueError(f"kind of truth '{name}' is not known; choose among {known}.") from None


class MixedBatch(DepthBatch):
    """A batch of samples with truth of different kinds.

    ``depth`` and ``depth_mask`` hold metres where the kind is ``METRIC`` and nothing (0, False) elsewhere, so that no
    loss can see metres that a source does not give. Batches for evaluation have metres and no ``truth``.
    """

    truth: NotRequired[Tensor]
    """float32 ``(B, 1, H, W)`` in the unit of the sample's kind, 0 outside ``truth_mask``."""
    truth_mask: NotRequired[Tensor]
    """bool ``(B, 1, H, W)``, True where ``truth`` was measured; unlike in ``depth``, 0 may be a measurement."""
    kind: NotRequired[Tensor]
    """int64 ``(B,)``, a :class:`DepthKind`."""
    source: NotRequired[Tensor]
    """int64 ``(B,)``, which of the mixed sources (or domains) the sample is from, in the order of the configuration."""
