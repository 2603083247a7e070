"""Box-supervised instance segmentation with pseudo depth."""

from lightning_modules.boxinst_depth.module import BoxInstDepth

__all__ = ["BoxInstDepth"]
