"""Batches of images with boxes: padding, order, sharding, mixed supervision, and independence of unused masks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.coco.datamodule import CocoDataModule
from datamodules.loading.samplers import EvaluationSampler, TrainSampler
from datamodules.samples.instance_dataset import collate_instances
from datamodules.samples.instance_transforms import InstanceAugmentation
from structures.batch import PADDING_INDEX
from structures.instances import InstanceBatch
from structures.label_writer import LabelWriter
from tests.data.make_coco import make_coco, without_masks


def module(root: Path, **changes) -> CocoDataModule:
    arguments = {
        "batch_size": 2,
        "image_size": (40, 64),
        "augmentation": InstanceAugmentation(short_sides=[32, 40, 56], max_long_side=80),
        "seed": 1,
    }
    data = CocoDataModule(root=str(root), **(arguments | changes))
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coco(tmp_path_factory.mktemp("coco"))


def equal(one: InstanceBatch, two: InstanceBatch) -> bool:
    assert one.keys() == two.keys()
    return all(torch.equal(v, two[k]) if isinstance(v, torch.Tensor) else v == two[k] for k, v in one.items())


def test_batches_follow_the_contract(root: Path) -> None:
    data = module(root)
    for batch in data.train_dataloader():
        b, _, height, width = batch["image"].shape
        n = batch["labels"].shape[1]
        assert b == 2
        assert height % 32 == width % 32 == 0
        assert n >= 1
        assert batch["image"].dtype == torch.float32
        assert 0 <= batch["image"].min() <= batch["image"].max() <= 1
        assert batch["boxes"].shape == (b, n, 4)
        assert batch["boxes"].dtype == torch.float32
        assert batch["labels"].dtype == torch.int64
        assert batch["image_mask"].dtype == torch.bool
        assert batch["truth"] == [None, None]
        assert "masks" not in batch
        assert not batch["has_masks"].any()
        for k in range(b):
            real = batch["image_mask"][k, 0]
            h, w = int(real.any(dim=1).sum()), int(real.any(dim=0).sum())
            assert real[:h, :w].all()
            assert real.sum() == h * w
            assert (batch["image"][k][:, ~real] == 0).all()
            assert [h, w] == (batch["scale"][k] * batch["original_size"][k]).round().int().tolist()
            filled = batch["labels"][k] > 0
            assert filled.any()
            assert (batch["boxes"][k, ~filled] == 0).all()
            for label, box in zip(batch["labels"][k, filled], batch["boxes"][k, filled], strict=True):
                x, y = ((box[:2] + box[2:]) / 2).int().tolist()
                # The writer paints an object in the colour of its class, so a box that is off would show.
                assert batch["image"][k, :, y, x].argmax() == label - 1
                assert batch["image"][k, :, y, x].max() > 0.9


def test_instances_are_padded_to_the_largest_number_and_at_least_to_one(root: Path) -> None:
    data = module(root)
    dataset = data.datasets["train"]
    samples = [dataset[0], dataset[1]]
    batch = collate_instances(samples)
    assert batch["labels"].shape[1] == max(len(s["labels"]) for s in samples) == 3
    alone = collate_instances([dataset[PADDING_INDEX]])
    assert alone["labels"].tolist() == [[0]]
    assert alone["boxes"].shape == (1, 1, 4)
    assert alone["image_id"].tolist() == alone["index"].tolist() == [PADDING_INDEX]
    assert alone["truth"] == [None]
    assert alone["name"] == ["padding"]


def test_files_without_any_mask_give_bit_identical_training_batches(root: Path, tmp_path: Path) -> None:
    bare = make_coco(tmp_path / "bare", edit=without_masks)
    for epoch in range(2):
        loaded = []
        for folder in (root, bare):
            data = module(folder)
            loader = data.train_dataloader()
            loader.sampler.epoch = epoch
            loaded.append(list(loader))
        assert len(loaded[0]) == 2
        assert all(equal(one, two) for one, two in zip(*loaded, strict=True))


def test_draws_depend_on_seed_epoch_and_index_alone(root: Path) -> None:
    data, again, other = module(root), module(root, num_workers=1), module(root, seed=2)
    one = list(data.train_dataloader())
    assert all(equal(a, b) for a, b in zip(one, again.train_dataloader(), strict=True))
    dataset = data.datasets["train"]
    assert len({tuple(dataset[epoch, 0]["image"].shape) for epoch in range(8)}) > 1
    assert [b["name"] for b in one] != [b["name"] for b in other.train_dataloader()]


def test_resumed_run_goes_on_with_the_next_batch(root: Path) -> None:
    data = module(root)
    whole = list(data.train_dataloader())
    sampler = TrainSampler(data.datasets["train"], batch_size=2, seed=1, skip_batches=1)
    (rest,) = list(data._make_loader(data.datasets["train"], sampler))
    assert equal(rest, whole[1])


def test_two_ranks_count_no_image_twice(root: Path) -> None:
    data = module(root)
    dataset = data.datasets["val"]
    ids = []
    for rank in range(2):
        sampler = EvaluationSampler(dataset, rank=rank, world_size=2)
        for batch in data._make_loader(dataset, sampler):
            assert [t is None for t in batch["truth"]] == (batch["index"] == PADDING_INDEX).tolist()
            ids += batch["image_id"].tolist()
    assert sorted(ids) == [PADDING_INDEX, 101, 102, 103]


def test_share_of_the_images_may_use_masks(root: Path) -> None:
    assert "masks" not in module(root).datasets["train"][0, 0]
    half, whole = module(root, mask_share=0.4).datasets["train"], module(root, mask_share=1.0).datasets["train"]
    allowed = {k for k in range(5) if half[0, k]["has_masks"]}
    assert len(allowed) == 2
    assert all(whole[0, k]["has_masks"] for k in range(5))
    more = module(root, mask_share=0.8).datasets["train"]
    assert allowed < {k for k in range(5) if more[0, k]["has_masks"]}
    for k in range(5):
        masks = half[0, k]["masks"]
        assert masks.shape == (len(half[0, k]["labels"]), *half[0, k]["image"].shape[1:])
        assert masks.flatten(1).any(dim=1).all() == (k in allowed)
        if k in allowed:
            for mask, (x1, y1, x2, y2) in zip(masks, half[0, k]["boxes"].tolist(), strict=True):
                assert abs(int(mask.sum()) - (x2 - x1) * (y2 - y1)) < x2 - x1 + y2 - y1
    batch = next(iter(module(root, mask_share=0.4).train_dataloader()))
    assert batch["masks"].shape == (*batch["labels"].shape, *batch["image"].shape[2:])


def test_cached_and_read_batches_are_equal(root: Path) -> None:
    cached, read = module(root, cache=True, mask_share=0.5), module(root, mask_share=0.5)
    list(cached.train_dataloader())
    assert all(equal(a, b) for a, b in zip(cached.train_dataloader(), read.train_dataloader(), strict=True))


def test_oversampling_reduces_images_once_and_boxes_follow(root: Path) -> None:
    data = module(root, oversampling=1.0, image_size=(20, 32))
    sample = data.datasets["train"][0, 0]
    plain = module(root, image_size=(20, 32)).datasets["train"][0, 0]
    assert sample["image"].shape == plain["image"].shape
    torch.testing.assert_close(sample["boxes"], plain["boxes"], rtol=0.1, atol=0.5)
    torch.testing.assert_close(sample["scale"], plain["scale"])


def test_depth_of_a_file_moves_with_its_image(root: Path, tmp_path: Path) -> None:
    names = module(root).datasets["train"].source.names
    with LabelWriter(tmp_path / "d.h5", kind="depth", teacher="a test", settings={}) as writer:
        for name in names:
            writer.write(name, np.tile(np.linspace(1, 4, 16, dtype=np.float32), (12, 1)))  # near on the left
        writer.finish()
    data = module(root, pseudo_depth="file", pseudo_depth_file=str(tmp_path / "d.h5"))
    dataset = data.datasets["train"]
    assert "pseudo_depth" not in data.datasets["val"][0]
    nearer_left = set()
    for epoch in range(6):
        sample, colours = dataset[epoch, 0], module(root).datasets["train"][epoch, 0]
        depth = sample["pseudo_depth"]
        assert depth.shape == (1, *sample["image"].shape[1:])
        assert sample["depth_mask"].all()
        assert torch.equal(sample["image"], colours["image"])  # depth changes no draw
        left = bool(depth[0, :, 0].mean() > depth[0, :, -1].mean())
        assert left == bool(sample["boxes"][0, 0] < sample["boxes"][1, 0])  # the writer puts the first object left
        nearer_left.add(left)
    assert nearer_left == {True, False}
    batch = next(iter(data.train_dataloader()))
    assert batch["pseudo_depth"].shape == batch["depth_mask"].shape == batch["image_mask"].shape
    assert not (batch["depth_mask"] & ~batch["image_mask"]).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_share": 1.2}, "mask_share is a share"),
        ({"image_size": (64, 40)}, "shorter side and the limit of the longer"),
        ({"pseudo_depth": "file"}, "'file' needs a file"),
        ({"pseudo_depth_file": "x.h5"}, "nothing else takes one"),
        ({"train_subset": 9}, "train_subset is 9, but the training split has 5 samples"),
        ({"batch_size": 8}, "fewer than one batch of 8"),
    ],
)
def test_bad_settings_are_refused(root: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(root, **changes).train_dataloader()
