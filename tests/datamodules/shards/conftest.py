"""A small data module of each kind, and its shards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datamodules.base import LoaderDataModule
from datamodules.coco.datamodule import CocoDataModule
from datamodules.mixed.datamodule import MixedDataModule
from datamodules.mixed.sources import ManifestDomain
from datamodules.nyuv2.labeled import NyuV2LabeledDataModule
from datamodules.nyuv2.raw import NyuV2RawDataModule
from datamodules.samples.clips import ClipAugmentation
from datamodules.samples.instance_transforms import InstanceAugmentation
from datamodules.samples.transforms import DepthAugmentation
from datamodules.shards.datamodule import (
    ShardDepthDataModule,
    ShardInstanceDataModule,
    ShardMixedDataModule,
    ShardVideoDataModule,
)
from tests.data.make_coco import make_coco
from tests.data.make_mixed_data import make_mixed_data
from tests.data.make_nyuv2_labeled import make_nyuv2_labeled
from tests.data.make_nyuv2_raw import make_nyuv2_raw
from tools.shards import write_shards

KINDS = ("depth", "video", "instances", "mixed")
READERS = {
    "depth": ShardDepthDataModule,
    "video": ShardVideoDataModule,
    "instances": ShardInstanceDataModule,
    "mixed": ShardMixedDataModule,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "depth": {"batch_size": 2, "image_size": (24, 32), "seed": 4, "oversampling": None},
    "video": {"batch_size": 2, "image_size": (24, 32), "seed": 4, "window": 3, "oversampling": None},
    "instances": {"batch_size": 2, "image_size": (40, 64), "seed": 4, "mask_share": 1.0},
    "mixed": {"batch_size": 3, "image_size": (16, 24), "seed": 4, "oversampling": 1.0},
}
SHARD_MB = {"depth": 0.05, "video": 1.0, "instances": 0.015, "mixed": 0.01}
"""Shards of a few samples."""


def settings(kind: str) -> dict[str, Any]:
    """Arguments that the original and the reader of its shards share, with the augmentation."""
    colours = {"brightness": (0.8, 1.2), "contrast": (0.8, 1.2)}
    if kind == "video":
        augmentation: Any = ClipAugmentation()
    elif kind == "instances":
        augmentation = InstanceAugmentation(short_sides=(32, 48), max_long_side=64)
    else:
        augmentation = DepthAugmentation(rotation_degrees=5, crop=None, flip=0.5, **colours)
    return SETTINGS[kind] | {"augmentation": augmentation}


def original(kind: str, root: Path, **changes: Any) -> LoaderDataModule:
    """The data module that is written, on data in its own layout."""
    arguments = settings(kind) | changes
    if kind == "depth":
        return NyuV2LabeledDataModule(str(root), split="795/654", **arguments)
    if kind == "video":
        return NyuV2RawDataModule(str(root), keypoints=True, **arguments)
    if kind == "instances":
        return CocoDataModule(root=str(root), **arguments)
    source = ManifestDomain(name="set", manifest=str(root / "manifest.csv"))
    other = ManifestDomain(name="other", manifest=str(root / "manifest.csv"), weight=0.5)
    return MixedDataModule(sources=[source, other], evaluation=source, samples_per_epoch=20, **arguments)


def write(data: LoaderDataModule, out: Path, kind: str, **changes: Any) -> str:
    """Write the shards of a data module."""
    pytest.importorskip("litdata", reason="the extra `shards` is not installed")
    arguments: dict[str, Any] = {"settings": "a", "reduced": False, "shard_mb": SHARD_MB[kind], "workers": 0}
    return write_shards(data, out, **(arguments | changes))


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of the data of a kind in their own layout, made once."""
    made: dict[str, Path] = {}

    def root(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(f"{kind}_data")
            if kind == "depth":
                make_nyuv2_labeled(made[kind], frames=16, written=16)
            elif kind == "video":
                made[kind] = make_nyuv2_raw(made[kind], targets=3)
            elif kind == "instances":
                make_coco(made[kind], n_train=7)
            else:
                make_mixed_data(made[kind])
        return made[kind]

    return root


@pytest.fixture(scope="session")
def shards(data_root: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of the shards of a kind, written once."""
    written: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in written:
            out = tmp_path_factory.mktemp(f"{kind}_shards") / "out"
            write(original(kind, data_root(kind)), out, kind)
            written[kind] = out
        return written[kind]

    return folder
