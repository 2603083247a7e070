"""One colour range for many depth maps, such as the frames of a video, without storing them."""

import torch
from torch import Tensor

from renderers.display import depth_range

SIDE = 64
"""Rows and columns of the grid at which each map is sampled."""

MOST_MAPS = 1024
"""Largest number of maps whose samples are kept; when it is exceeded, every second map is dropped."""


class SharedRange:
    """Nearest and farthest depth of many maps without outliers: quantiles over samples of all maps.

    Each map is sampled on a regular grid of at most ``SIDE x SIDE`` pixels. Of a long video, samples of
    ``MOST_MAPS / 2`` to ``MOST_MAPS`` evenly spaced frames are kept, 16 MB at most.

    Args:
        quantile: Fraction of values cut off at each end, in [0, 0.5).
    """

    def __init__(self, quantile: float = 0.02) -> None:
        self.quantile = quantile
        self._samples: list[Tensor] = []
        self._seen = 0
        self._every = 1

    def add(self, depth: Tensor) -> None:
        """Add a map.

        Args:
            depth: float ``(1, H, W)``, metres; values <= 0 and non-finite values never count.

        Raises:
            ValueError: If it has another shape.
        """
        if depth.ndim != 3 or depth.shape[0] != 1:
            raise ValueError(f"depth has shape {tuple(depth.shape)}, but (1, H, W) is needed")
        if self._seen % self._every == 0:
            rows, columns = (
                ((torch.arange(min(SIDE, length)) + 0.5) * length / min(SIDE, length)).long()
                for length in depth.shape[1:]
            )
            values = depth[0][rows.to(depth.device)[:, None], columns.to(depth.device)].float().flatten().cpu()
            self._samples.append(values[torch.isfinite(values) & (values > 0)])
        self._seen += 1
        if len(self._samples) > MOST_MAPS:
            self._samples = self._samples[::2]
            self._every *= 2

    def ends(self) -> tuple[float, float]:
        """Nearest and farthest depth in metres; 1 and 10 where no map had a valid pixel."""
        values = torch.cat(self._samples) if self._samples else torch.empty(0)
        near, far = depth_range(values.view(1, 1, 1, -1), quantile=self.quantile)
        return float(near), float(far)
