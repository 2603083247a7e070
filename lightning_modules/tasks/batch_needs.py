"""What a paper needs of a batch, checked on the first batch of each loop: data of another kind end in one sentence."""

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
    """Keys of a batch that belong together, and where they come from."""

    keys: tuple[str, ...]
    """Keys that a batch has to hold."""
    kind: str
    """What they stand for, in a few words."""
    source: str
    """What gives them: data sets (``DATA=name``), a setting, or what to leave out."""
    setting: bool = False
    """Whether a setting of fitting data gives them, so that ``source`` says all there is to say."""


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
    """A data module gives batches that a paper cannot use; the message names what is missing and what gives it."""


def check_batch(batch: Any, needs: Sequence[Need], *, paper: str, loop: Loop, data: str) -> None:
    """Make sure that a batch holds what a paper reads.

    Args:
        batch: What the loader gave.
        needs: What the paper reads of it.
        paper: Name of the paper, for the message.
        loop: What the batch is for.
        data: Name of the data module, for the message.

    Raises:
        BatchError: If something is missing; the message names all of it.
    """
    here = set(batch) if isinstance(batch, Mapping) else set()
    missing = [need for need in needs if not here.issuperset(need.keys)]
    # Data of another kind come first: what they lack of settings beside it would be no help.
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
    """Make sure that a first training batch of a paper that learns from measured depth has any.

    Args:
        mask: bool ``(B, 1, H, W)``, where depth was measured.
        paper: Name of the paper, for the message.
        data: Name of the data module, for the message.

    Raises:
        ValueError: If not one pixel has.
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
    """The first sample of the validation split as a batch of one, without a draw or a worker; None where none is had.

    It is read past the loader's sampler, so that nothing of the run to come depends on it.
    """
    with isolate_rng():
        loader = _validation_loader(data)
        return None if loader is None else loader.collate_fn([loader.dataset[0]])


def validation_measured(data: LightningDataModule) -> bool:
    """Whether a validation sample has measured depth: they are read in order, up to the first one that has.

    True where it cannot be told, as for loaders without a data set that can be indexed.
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
