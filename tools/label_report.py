"""Errors of stored labels with respect to the ground truth of the images that they were made from."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from datamodules.samples.frame import Sample
from datamodules.samples.instance_transforms import resize_known
from lightning_modules.teachers.teacher import Teacher
from metrics.depth import DepthMetrics
from metrics.segmentation import confusion_matrix, merged_by_majority, scores_from_confusion
from structures.label_store import LabelStore


def known_sources(frames: Dataset[Sample]) -> list[Any] | None:
    """The sources of all frames if each lists the names of its images without reading them, else None."""
    parts = frames.datasets if isinstance(frames, ConcatDataset) else [frames]
    sources = [getattr(part, "source", None) for part in parts]
    return sources if all(hasattr(source, "names") for source in sources) else None


def semantic_errors(frames: Dataset[Sample], store: LabelStore, *, n_classes: int, renamed: bool) -> dict[str, Tensor]:
    """Scores of stored class ids against the ground truth.

    Args:
        frames: Unaugmented samples with ``semantic``.
        store: Labels of all samples, at their size.
        n_classes: Highest class id in labels and ground truth.
        renamed: Whether to map each class of the labels to the ground-truth class that it overlaps most.

    Returns:
        See `metrics.segmentation.scores_from_confusion`.
    """
    confusion = torch.zeros(n_classes + 1, n_classes + 1, dtype=torch.int64)
    for index in range(len(frames)):  # type: ignore[arg-type]
        sample = frames[index]
        labels = torch.from_numpy(store.read(cast(str, sample["name"]))).long()
        confusion += confusion_matrix(labels, target=cast(Tensor, sample["semantic"]), n_classes=n_classes)
    return scores_from_confusion(merged_by_majority(confusion) if renamed else confusion)


def depth_error(frames: Dataset[Sample], store: LabelStore, *, relative: bool) -> tuple[dict[str, Tensor], int]:
    """AbsRel of stored depth against the ground truth, with median alignment if the depth is ``relative``.

    Returns:
        The scores, and the number of frames with at least one pixel that has both label and ground truth.
    """
    metrics = DepthMetrics(alignment="median" if relative else "none", edges=False)
    compared = 0
    for index in range(len(frames)):  # type: ignore[arg-type]
        frame = frames[index]
        sample = {k: v[None] for k, v in frame.items() if isinstance(v, Tensor)}
        label = store.read(cast(str, frame["name"]))
        height, width = sample["depth"].shape[-2:]
        if label.shape != (height, width):
            label, _ = resize_known(label, label > 0, (height, width))
        depth = torch.from_numpy(label)[None, None]
        mask = sample["depth_mask"] & (depth > 0)
        if bool(mask.any()):
            compared += 1
            metrics.update(depth, target_m=sample["depth"], mask=mask, depth_scale_m=sample["depth_scale_m"])
    if compared == 0:
        return {}, 0
    return {name: value for name, value in metrics.compute().items() if name.startswith("abs_rel")}, compared


def depth_report(frames: Dataset[Sample], store: LabelStore, *, relative: bool) -> str:
    """One line with the error of stored depth and the number of frames compared."""
    sources = known_sources(frames)
    if sources is not None and not any(getattr(source, "has_depth", True) for source in sources):
        return "no ground truth to compare with: the data have no depth"
    scores, compared = depth_error(frames, store, relative=relative)
    count = len(frames)  # type: ignore[arg-type]
    if compared == 0:
        return f"no ground truth to compare with: none of the {count} images has known depth"
    line = ", ".join(f"{name} {float(value):.4f}" for name, value in scores.items())
    return f"against ground truth{'' if compared == count else f' of {compared} of {count} images'}: {line}"


def errors_against_truth(frames: Dataset[Sample], store: LabelStore, teacher: Teacher, highest: int) -> str:
    """One line with the error of the labels, or the reason why it cannot be computed."""
    if teacher.kind == "depth":
        return depth_report(frames, store, relative=teacher.relative)
    if highest == 0:
        return (
            "no ground truth to compare with: the data have no classes (some data read them with "
            "--data.init_args.fields [semantic])"
        )
    scores = semantic_errors(
        frames,
        store,
        n_classes=max(highest, teacher.n_classes),
        renamed=teacher.class_names is not None,
    )
    line = ", ".join(f"{name} {float(value):.4f}" for name, value in scores.items())
    if teacher.class_names is not None:
        line += " (each class of the teacher mapped to the ground-truth class that it overlaps most)"
    return f"against ground truth: {line}"
