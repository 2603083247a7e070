"""Frames of a manifest whose rows have ground truth of any kind."""

import numpy as np

from datamodules.manifest.source import ManifestSource
from datamodules.mixed.truth import check_truth, with_metres, with_truth
from datamodules.samples.frame import Frame, check_intrinsics
from structures.depth_kind import DepthKind


class ManifestTruthSource(ManifestSource):
    """Frames of the rows of one split with ground truth of each row's kind.

    Without a mask, 0 means not measured for every kind.
    """

    def kind(self, index: int) -> DepthKind:
        """Return the kind of ground truth of a frame."""
        return self.rows[index].kind

    def read(self, index: int) -> Frame:
        """Return one frame at full size, with its ground truth.

        Raises:
            ValueError: If a file is damaged or holds invalid values; the message names file and row.
        """
        row = self.rows[index]
        if row.kind is DepthKind.METRIC:
            return with_metres(super().read(index))
        frame, mask = self.read_unchecked(row)
        where = f"{row.where} ({row.depth.name})"
        height, width = frame.image.shape[:2]
        truth = frame.depth
        if truth.shape != (height, width):
            raise ValueError(
                f"{where}: the image is {width}x{height} but the {row.kind.name.lower()} truth has shape {truth.shape}"
                "; both need the same size, so resize the truth with nearest-neighbour sampling or crop the image."
            )
        # Without a mask NaN counts as valid here, and is refused by check_truth.
        valid = truth != 0 if mask is None else mask
        check_truth(truth, valid, row.kind, where)
        check_intrinsics(frame.K, width=width, height=height, where=where, data=row.manifest)
        return with_truth(frame, np.where(valid, truth, np.float32(0)), valid)
