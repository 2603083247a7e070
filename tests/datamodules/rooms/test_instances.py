"""Instance data module of rooms against rectangles of known position, class and depth."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.files.run_lengths import decode_masks
from datamodules.rooms.instances import THINGS, RoomsInstanceDataModule, find_objects
from datamodules.samples.frame import Frame
from datamodules.samples.instance_transforms import InstanceAugmentation
from structures.label_writer import LabelWriter
from tests.data.make_room_objects import OBJECTS, RENDERER, SETTINGS


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    module(folder).prepare_data()
    return folder


def module(root: Path, **changes) -> RoomsInstanceDataModule:
    arguments = {
        "settings": SETTINGS,
        "root": str(root),
        "processes": 0,
        "renderer": RENDERER,
        "batch_size": 4,
        "image_size": (24, 32),
        "min_box_side": 4,
        "min_area": 10,
        "seed": 0,
    }
    return RoomsInstanceDataModule(**(arguments | changes))


def test_objects_are_those_that_were_rendered(root: Path) -> None:
    data = module(root)
    data.setup("validate")
    assert len(data.datasets["val"]) == SETTINGS.n_stills_val
    sample = data.datasets["val"][2]
    assert sample["image"].shape == (3, 24, 32)
    assert sample["name"].startswith("still/val/")
    # In the order of the instance ids; the third object is too small.
    assert sample["boxes"].tolist() == [[8, 4, 16, 10], [2, 2, 20, 16]]
    assert [data.category_ids[label - 1] for label in sample["labels"]] == [9, 5]
    assert [data.class_names[label - 1] for label in sample["labels"]] == ["ball", "bed"]
    assert sample["camouflaged"].tolist() == [True, False]
    assert sample["has_masks"]
    assert sample["masks"].flatten(1).sum(dim=1).tolist() == [48, 18 * 14 - 48]
    assert not (sample["masks"][0] & sample["masks"][1]).any()


def test_small_objects_are_ignored_in_the_truth(root: Path) -> None:
    data = module(root)
    data.setup("test")
    truth = data.datasets["test"][0]["truth"]
    assert truth["boxes"].tolist() == [[8, 4, 16, 10], [2, 2, 20, 16], [24, 10, 27, 12]]
    assert truth["ignored"].tolist() == [False, False, True]
    assert truth["camouflaged"].tolist() == [True, False, False]
    assert truth["standing"].tolist() == [True, True, True]
    assert truth["flush"].tolist() == [False, False, False]
    assert truth["area"].tolist() == [48, 204, 6]
    assert decode_masks(truth["masks"], (24, 32)).sum(axis=(1, 2)).tolist() == [48, 204, 6]
    assert len(module(root, min_box_side=0, min_area=0).make_instances("test").read(0, masks=False).labels) == 3


def test_limits_of_evaluation_leave_training_as_it_is(root: Path) -> None:
    data = module(root, eval_min_box_side=9, eval_min_area=10, mask_share=1.0)
    data.setup("fit")
    data.setup("test")
    # The second object is 8 pixels wide: trained on, and ignored in evaluation.
    assert len(data.datasets["train"][0, 0]["labels"]) == 2
    assert data.datasets["test"][0]["truth"]["ignored"].tolist() == [True, False, True]
    by_area = module(root, eval_min_area=100)
    by_area.setup("test")
    assert by_area.datasets["test"][0]["truth"]["ignored"].tolist() == [True, False, True]


def test_doors_windows_pictures_and_mirrors_are_flush() -> None:
    instance = np.arange(len(THINGS), dtype=np.int64)[None].repeat(2, axis=0) + 1
    frame = Frame(
        image=np.zeros((*instance.shape, 3), np.uint8),
        depth=np.ones(instance.shape, np.float32),
        K=np.eye(3, dtype=np.float32),
        name="f",
        labels={"instance": instance, "semantic": np.array(list(THINGS.values()))[None].repeat(2, axis=0)},
        flags={"camouflaged": np.zeros(instance.shape, np.bool_)},
    )
    labels = {index: label for label, index in enumerate(THINGS.values(), start=1)}
    objects = find_objects(frame, labels, min_side=0, min_area=0)
    flags = objects.flags()
    names = np.array(list(THINGS))[objects.labels - 1]
    assert set(names[flags["flush"]]) == {"door", "window", "picture", "mirror"}
    np.testing.assert_array_equal(flags["standing"], ~flags["flush"])


def test_chosen_classes_are_numbered_in_their_order(root: Path) -> None:
    data = module(root, classes=["ball", "chair"])
    data.setup("validate")
    assert (data.n_classes, data.category_ids) == (2, [THINGS["ball"], THINGS["chair"]])
    assert data.datasets["val"][0]["labels"].tolist() == [1]
    assert data.datasets["val"][0]["truth"]["labels"].tolist() == [1, 2]
    assert module(root).n_classes == 17


def test_batches_follow_the_contract(root: Path) -> None:
    augmentation = InstanceAugmentation(short_sides=[18, 24, 30], max_long_side=40)
    data = module(root, augmentation=augmentation, pseudo_depth="exact", mask_share=0.5)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 18 // 4
    for batch in batches:
        assert batch["labels"].shape == batch["camouflaged"].shape == (4, 2)
        assert batch["masks"].shape == (4, 2, *batch["image"].shape[2:])
        assert batch["pseudo_depth"].shape == batch["image_mask"].shape
    assert 0 < sum(int(batch["has_masks"].sum()) for batch in batches) < 16


def test_exact_depth_is_near_where_the_object_is_near(root: Path) -> None:
    data = module(root, pseudo_depth="exact", oversampling=None, depth_percentiles=(0, 100))
    data.setup("fit")
    sample = data.datasets["train"][0, 3]
    depth = sample["pseudo_depth"][0]
    # Of 1/6 on the wall to 1/1 on the small object: 1/2 and 1/3 lie at 0.4 and 0.2.
    for (_, _, (x1, y1, _, _), _, _), expected in zip(OBJECTS, (0.2, 0.4, 1.0), strict=True):
        assert depth[y1, x1] == pytest.approx(expected, abs=1e-3)
    assert depth[0, 0] == pytest.approx(0, abs=1e-6)
    assert sample["depth_mask"].all()


def test_depth_file_of_other_rooms_is_refused(root: Path, tmp_path: Path) -> None:
    names = module(root).make_source("train").names
    for key in ("rooms-other", module(root).content_key):
        with LabelWriter(tmp_path / f"{key}.h5", kind="depth", teacher="t", settings={"data": key}) as writer:
            for name in names:
                writer.write(name, np.full((12, 16), 2.0, np.float32))
            writer.finish()
    data = module(root, pseudo_depth="file", pseudo_depth_file=str(tmp_path / "rooms-other.h5"))
    with pytest.raises(ValueError, match="was made of other data"):
        data.setup("fit")
    data = module(root, pseudo_depth="file", pseudo_depth_file=str(tmp_path / f"{data.content_key}.h5"))
    data.setup("fit")
    assert data.datasets["train"][0, 0]["pseudo_depth"].shape == (1, 24, 32)


def test_sources_of_depth_change_nothing_but_the_depth(root: Path) -> None:
    batches = []
    for pseudo_depth in (None, "exact", "noise"):
        data = module(root, pseudo_depth=pseudo_depth, augmentation=InstanceAugmentation(short_sides=[18, 24]))
        data.setup("fit")
        batches.append(next(iter(data.train_dataloader())))
    for batch in batches[1:]:
        assert all(torch.equal(batch[key], batches[0][key]) for key in ("image", "boxes", "labels", "scale", "index"))
    assert "pseudo_depth" not in batches[0]
    assert not torch.equal(batches[1]["pseudo_depth"], batches[2]["pseudo_depth"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["sofa", "piano"]}, r"classes is \['sofa', 'piano'\]"),
        ({"classes": []}, "different ones of table, chair"),
        ({"parts": ["movie"]}, "parts holds 'movie'"),
        ({"min_area": -1}, "min_area is -1, but it must not be negative"),
        ({"eval_min_box_side": -2}, "eval_min_box_side is -2, but it must not be negative"),
        ({"depth_percentiles": (99, 1)}, r"depth_percentiles is \(99, 1\), but two rising numbers"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(tmp_path, **changes)
