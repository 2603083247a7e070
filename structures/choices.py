"""Choices that several packages share, each spelled out once.

>>> from typing import get_args
>>> get_args(Alignment)
('none', 'median', 'least_squares')
"""

from typing import Literal

Alignment = Literal["none", "median", "least_squares"]
"""Alignment of a prediction with the ground truth of its image before errors are taken: none, the ratio of medians, or
least-squares scale and shift."""
Average = Literal["image", "pixel"]
"""Whether an error is a mean over images, each of which is a mean over its pixels, or over all pixels of a data set."""
Quantity = Literal["depth", "disparity"]
"""Output of a network: depth, or its inverse."""
KConvention = Literal["corner", "centre"]
"""Position of pixel coordinate (0, 0) in given intrinsics: the corner of the first pixel, as everywhere in this
project, or its centre (OpenCV)."""
Split = Literal["train", "val", "test"]
"""A part of a data set."""
