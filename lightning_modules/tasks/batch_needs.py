"""The keys of a batch that papers need, and the check of a batch for them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

Loop = Literal["train", "val", "test", "predict"]

_ACTIVITY: dict[Loop, str] = {
    "train": "train on",
    "val": "be validated on",
    "test": "be tested on",
    "predict": "predict from",
}


class Need(NamedTuple):
    """Keys of a batch that belong together, and the data or settings that provide them."""

    keys: tuple[str, ...]
    """Keys that a batch must have."""
    kind: str
    """Short description of their content."""
    source: str
    """How to provide them: data sets (``DATA=name``), a setting, or a loss term to leave out."""
    setting: bool = False
    """Whether a setting of the data provides them, so that ``source`` is the whole message."""


IMAGES = Need(("image",), "images", "take any of the data sets of images")
DEPTH = Need(
    ("depth", "depth_mask", "depth_scale_m"),
    "images with depth",
    "take DATA=rooms, nyuv2_labeled, manifest or, with depth_root, frames",
)
DEPTH_AND_CAMERA = Need((*DEPTH.keys, "K"), "images with depth and intrinsics", DEPTH.source)
CLIPS = Need(
    ("frames", "frames_jittered", "K"), "clips of a video", "take DATA=rooms_video, frames, sc_depth or nyuv2_raw"
)
CLIP_DEPTH = Need(DEPTH.keys, "depth maps beside the images, be they empty", CLIPS.source)
POSES = Need(
    ("T_frame_target",),
    "exact poses",
    "poses is 'exact', but the data gives none: take DATA=rooms_video, or set model.init_args.poses to learned and "
    "give a pose_network",
    setting=True,
)
OBJECTS = Need(
    ("image_mask", "boxes", "labels", "has_masks", "scale"),
    "images with boxes of objects",
    "take DATA=rooms_instances, coco_instances or cityscapes_instances",
)
SCORED_OBJECTS = Need(
    ("truth", "image_id", "scale", "original_size"),
    "images with the objects they are scored on",
    "take DATA=rooms_instances, coco_instances or cityscapes_instances",
)
CLASSES = Need(
    ("semantic",), "class labels of pixels", "take DATA=rooms_segmentation, or set data.init_args.fields to [semantic]"
)


KEYPOINTS = Need(
    ("keypoints",),
    "key points",
    "the weighting needs key points: set data.init_args.keypoints to true, or take another model.init_args.weighting",
    setting=True,
)
PROXY_LABELS = Need(
    ("proxy_semantic",),
    "class labels of a teacher",
    "the term 'segmentation' needs labels: set data.init_args.proxy_labels to a file of them (make pseudo-labels makes "
    "it), or leave the term out of loss_weights",
    setting=True,
)
DIRECTIONS = Need(
    ("vanishing",),
    "vanishing directions",
    "the terms 'planar' and 'normal' need vanishing directions: set data.init_args.vanishing to a file of them (make "
    "vanishing makes it), or leave the terms out of loss_weights",
    setting=True,
)
PSEUDO_DEPTH = Need(
    ("pseudo_depth", "depth_mask"),
    "pseudo depth",
    "the loss terms need pseudo depth: set data.init_args.pseudo_depth and pseudo_depth_file (make pseudo-depth makes "
    "the file), or leave the terms with depth out",
    setting=True,
)


class BatchError(ValueError):
    """Batches lack keys that a paper needs; the message names them and how to provide them."""


def check_batch(batch: Any, needs: Sequence[Need], *, paper: str, loop: Loop, data: str) -> None:
    """Make sure that a batch has the keys that a paper reads.

    Args:
        batch: A batch of the loader.
        needs: The keys that the paper reads.
        paper: Name of the paper, for the message.
        loop: The loop of the batch.
        data: Name of the data module, for the message.

    Raises:
        BatchError: If something is missing; the message names all of it.
    """
    here = set(batch) if isinstance(batch, Mapping) else set()
    missing = [need for need in needs if not here.issuperset(need.keys)]
    # Data of another kind are reported first; missing settings do not matter then.
    missing = [need for need in missing if not need.setting] or missing
    if not missing:
        return
    if missing[0].setting:
        reasons = ": " + "; ".join(need.source for need in missing)
    else:
        reasons = ", which lack " + "; and ".join(
            f"{need.kind} ({_listed([key for key in need.keys if key not in here])}): {need.source}" for need in missing
        )
    raise BatchError(f"{paper} cannot {_ACTIVITY[loop]} the data of {data}{reasons}")


def check_measured(mask: Tensor, *, paper: str, data: str) -> None:
    """Make sure that the first training batch has measured depth, for papers that are trained on it.

    Args:
        mask: bool ``(B, 1, H, W)``, True where depth is measured.
        paper: Name of the paper, for the message.
        data: Name of the data module, for the message.

    Raises:
        ValueError: If no pixel has.
    """
    if not bool(mask.any()):
        raise ValueError(
            f"{paper} learns from measured depth, but not one pixel of the first {len(mask)} training images of {data} "
            "has any: give the data their depth (data.init_args.depth_root of a video of your own), or train a paper "
            "that needs none (gam_depth, monodepth2, sc_depth)"
        )


def _listed(keys: Sequence[str]) -> str:
    """``'a', 'b' and 'c'``."""
    quoted = [f"'{key}'" for key in keys]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def first_validation_batch(data: LightningDataModule) -> Any:
    """The first sample of the validation split as a batch of one; None if it cannot be read.

    It is read without the loader's sampler and workers, so that random state and order of the run do not change.
    """
    with isolate_rng():
        loader = _validation_loader(data)
        return None if loader is None else loader.collate_fn([loader.dataset[0]])


def validation_measured(data: LightningDataModule) -> bool:
    """Whether a validation sample has measured depth. Samples are read in order up to the first one that has.

    True if it cannot be determined, as for loaders whose data set cannot be indexed.
    """
    with isolate_rng():
        loader = _validation_loader(data)
        if loader is None:
            return True
        masks = (loader.dataset[k].get("depth_mask") for k in range(len(loader.dataset)))  # type: ignore[arg-type]  # has len
        return any(mask is None or bool(mask.any()) for mask in masks)


def _validation_loader(data: LightningDataModule) -> DataLoader[Any] | None:
    """The (first) validation loader if its data set can be indexed and is not empty."""
    loader = data.val_dataloader()
    while isinstance(loader, list | tuple) and loader:
        loader = loader[0]
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    return loader if len(loader.dataset) > 0 else None  # type: ignore[arg-type]  # has len
