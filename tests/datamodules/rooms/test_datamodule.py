"""RoomsDataModule against the rendered arrays."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.rooms.datamodule import RoomsDataModule
from datamodules.rooms.make_store import build_store
from datamodules.rooms.settings import plan
from datamodules.rooms.store import FRAME_DATASETS, RoomsStore
from datamodules.samples.transforms import DepthAugmentation
from tests.data.make_rooms import RENDERER, TINY, make_rooms, render_fake


def module(root: Path, **changes) -> RoomsDataModule:
    arguments = {"settings": TINY, "root": str(root), "processes": 0, "renderer": RENDERER, "batch_size": 4}
    return RoomsDataModule(**(arguments | {"image_size": (12, 16)} | changes))


@pytest.mark.parametrize("cache", [True, False])
def test_samples_equal_the_rendered_frames(tmp_path: Path, cache: bool) -> None:
    data = module(
        tmp_path,
        image_size=(24, 32),
        cache=cache,
        fields=["semantic", "instance", "plane", "plain", "thin", "glossy", "camouflaged", "T_world_camera"],
    )
    data.prepare_data()
    data.setup("validate")
    expected = [(s, k) for s in plan(TINY) if s.split == "val" for k in range(s.n_frames)]
    assert len(data.datasets["val"]) == len(expected) == 6 + 5
    for _ in range(2):
        for index, (sequence, k) in enumerate(expected):
            sample = data.datasets["val"][index]
            rendered = {name: values[k] for name, values in render_fake(TINY, sequence).items()}
            np.testing.assert_allclose(sample["image"].permute(1, 2, 0), rendered["image"] / 255, atol=1e-6)
            np.testing.assert_allclose(sample["depth"][0], rendered["depth"], atol=1.01e-4)
            for name in ("semantic", "instance", "plane"):
                np.testing.assert_array_equal(sample[name], rendered[name])
            for bit, name in enumerate(["plain", "thin", "glossy", "camouflaged"]):
                np.testing.assert_array_equal(sample[name][0], rendered["flags"] // 2**bit % 2 == 1)
            np.testing.assert_allclose(sample["K"], rendered["K"], rtol=1e-6)
            np.testing.assert_allclose(sample["T_world_camera"], rendered["T_world_camera"], rtol=1e-6)
            assert sample["index"] == index
            assert str(sample["name"]).startswith(sequence.name)


def test_splits_and_parts(tmp_path: Path) -> None:
    data = module(tmp_path, parts=["still"], eval_parts=["video"])
    data.prepare_data()
    data.setup()
    names = {split: {str(s["name"]) for s in map(dataset.__getitem__, range(len(dataset)))}
             for split, dataset in data.datasets.items()}  # fmt: skip
    assert {split: len(values) for split, values in names.items()} == {"train": 18, "val": 6, "test": 6}
    assert all(name.startswith("still/train/") for name in names["train"])
    assert all(name.startswith("video/test/") for name in names["test"])


def test_views_of_training_rooms_are_held_out_for_validation(tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, n_stills=5, n_stills_val=1, n_stills_test=2, views_per_still=4)
    data = module(tmp_path, settings=settings, parts=["still"], eval_parts=["still"], held_out_views=1)
    data.prepare_data()
    data.setup()
    names = {split: [str(dataset[k]["name"]) for k in range(len(dataset))] for split, dataset in data.datasets.items()}
    assert names["train"] == [f"still/train/{room:04d}/{view:04d}" for room in range(2) for view in range(3)]
    assert names["val"] == [f"still/train/{room:04d}/0003" for room in range(2)]
    assert names["test"] == [f"still/test/{room:04d}/{view:04d}" for room in range(2) for view in range(4)]
    (sequence,) = [s for s in plan(settings) if s.name == "still/train/0001"]
    np.testing.assert_allclose(
        module(tmp_path, settings=settings, parts=["still"], eval_parts=["still"], held_out_views=1)
        .make_source("val").read(1).depth,
        render_fake(settings, sequence)["depth"][3], atol=1.01e-4,
    )  # fmt: skip
    with pytest.raises(ValueError, match="held_out_views is 4, it has to be at least 0 and leave one of the views_per"):
        module(tmp_path, settings=settings, parts=["still"], eval_parts=["still"], held_out_views=4)
    with pytest.raises(ValueError, match="held_out_views is 1, but only stills have views"):
        module(tmp_path, settings=settings, held_out_views=1)


def test_cached_and_read_batches_are_equal(tmp_path: Path) -> None:
    augmentation = DepthAugmentation(crop=None, crop_scale=(0.7, 1.0), noise_std=0.01)
    loaded = []
    for cache in (True, False):
        data = module(tmp_path, cache=cache, augmentation=augmentation, fields=["plane"])
        data.prepare_data()
        data.setup("fit")
        list(data.train_dataloader())  # nothing of the first pass may change what the second one sees
        loaded.append(list(data.train_dataloader()))
    for cached, read in zip(*loaded, strict=True):
        assert cached["name"] == read["name"]
        for key in ("image", "depth", "depth_mask", "K", "plane"):
            assert torch.equal(cached[key], read[key])


def test_batches_follow_the_contract(tmp_path: Path) -> None:
    data = module(tmp_path, depth_scale="image_max")
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    kinds = {key: (value.dtype, tuple(value.shape)) for key, value in batch.items() if key != "name"}
    assert kinds == {
        "image": (torch.float32, (4, 3, 12, 16)),
        "depth": (torch.float32, (4, 1, 12, 16)),
        "depth_mask": (torch.bool, (4, 1, 12, 16)),
        "K": (torch.float32, (4, 3, 3)),
        "K_known": (torch.bool, (4,)),
        "depth_scale_m": (torch.float32, (4,)),
        "index": (torch.int64, (4,)),
    }
    assert torch.equal(batch["depth_scale_m"], batch["depth"].amax(dim=(1, 2, 3)))


def test_other_settings_are_other_files_and_wrong_names_are_refused(tmp_path: Path) -> None:
    other = dataclasses.replace(TINY, seed=1)
    assert module(tmp_path).path != module(tmp_path, settings=other).path
    make_rooms(tmp_path).rename(module(tmp_path, settings=other).path)
    with pytest.raises(ValueError, match="rooms of other settings"):
        module(tmp_path, settings=other).setup("test")
    with pytest.raises(FileNotFoundError, match="make data"):
        module(tmp_path).setup("test")
    with pytest.raises(ValueError, match="fields holds 'normals', allowed are semantic"):
        module(tmp_path, fields=["normals"])


@pytest.mark.slow
def test_rooms_of_the_real_renderer_fit_the_store(tmp_path: Path) -> None:
    settings = dataclasses.replace(
        TINY, height=48, width=64, n_stills=4, n_stills_val=1, n_stills_test=1, n_video_scenes=3, frames_per_clip=2
    )
    paths = [
        build_store(settings, tmp_path / str(processes), processes=processes, progress_bar=False)
        for processes in (0, 2)
    ]
    alone, together = (RoomsStore(path) for path in paths)
    for frame in range(10):
        a, b = alone.read(frame, FRAME_DATASETS), together.read(frame, FRAME_DATASETS)
        for name in FRAME_DATASETS:
            np.testing.assert_array_equal(a[name], b[name])
    data = RoomsDataModule(settings=settings, root=str(tmp_path / "0"), image_size=(24, 32), batch_size=2)
    data.setup()
    for split in ("train", "val", "test"):
        for index in range(len(data.datasets[split])):
            sample = data.datasets[split][index]
            assert sample["depth_mask"].float().mean() > 0.99
            assert 0.1 < float(sample["depth"].median()) < 13
