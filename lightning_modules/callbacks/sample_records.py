"""Records of the drawn validation samples, which a run keeps for the comparison with other runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from renderers.display import to_uint8
from structures.sample_file import SampleRecord

SCALED_UNIT = "m, scaled by the median"
"""Unit of depth of a network whose scale is unknown, once it is aligned with the ground truth."""


def depth_records(
    sample: Mapping[str, Any],
    prediction: Tensor,
    before: Tensor | None = None,
    *,
    abs_rel: Sequence[float | None] | None = None,
) -> list[SampleRecord]:
    """Records of a batch of chosen samples, with the mean relative error of each.

    Args:
        sample: Batch with ``image`` and, where known, ``name``, ``depth``, ``depth_mask`` and ``K``.
        prediction: float ``(B, 1, H, W)``, metres.
        before: As ``prediction``, at an earlier step.
        abs_rel: The error of each image under the protocol of its module; None takes that of all pixels with truth.
    """

    def numbers(values: Tensor | None, index: int) -> Any:
        return None if values is None else values[index].detach().float().cpu().numpy()

    def plane(values: Tensor | None, index: int) -> Any:
        found = numbers(values, index)
        return None if found is None else found[0]

    truth, mask = sample.get("depth"), sample.get("depth_mask")
    if isinstance(truth, Tensor) and isinstance(mask, Tensor):
        truth = torch.where(mask, truth, torch.zeros_like(truth))
    records = []
    for index in range(len(prediction)):
        scores = {}
        known = None if truth is None else (truth[index] > 0) & prediction[index].isfinite()
        if truth is not None and known is not None and bool(known.any()):
            relative = (prediction[index] - truth[index]).abs() / truth[index]
            scores["abs_rel"] = float(relative[known].mean())
            if abs_rel is not None:
                scores = {} if (given := abs_rel[index]) is None else {"abs_rel": given}
        records.append(
            SampleRecord(
                name=str(sample["name"][index]) if "name" in sample else str(index),
                image=to_uint8(sample["image"][index]).numpy(),
                truth=plane(truth, index) if known is not None and bool(known.any()) else None,
                prediction=plane(prediction, index),
                before=plane(before, index),
                K=numbers(sample.get("K"), index),
                scores=scores,
            )
        )
    return records
