"""Proxy labels of tiny rooms, by checkpoints of this project and by external teachers."""

import re

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from datamodules.rooms.datamodule import RoomsDataModule
from datamodules.samples.frame import Frame
from datamodules.samples.transforms import resize
from lightning_modules.teachers.teacher import Teacher
from structures.label_store import LabelStore
from structures.label_writer import LabelWriter
from tests.data.make_huggingface import make_depth_anything, make_segformer
from tests.data.make_rooms import RENDERER, TINY, write_rooms_yaml
from tests.data.make_teachers import save_depth_checkpoint, save_segmenter_checkpoint
from tools.label_report import depth_report
from tools.pseudo_labels import main, survey, unaugmented_frames

try:
    import transformers
except ImportError:
    transformers = None

needs_transformers = pytest.mark.skipif(transformers is None, reason="the optional package transformers is missing")

N_CLASSES = 22
SIZE = (64, 96)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("rooms")


def make_data(root, **changes):
    data = RoomsDataModule(
        settings=TINY,
        root=str(root),
        parts=["still"],
        eval_parts=["still"],
        fields=["semantic"],
        image_size=SIZE,
        batch_size=4,
        processes=0,
        renderer=RENDERER,
        **changes,
    )
    data.prepare_data()
    return data


@pytest.fixture
def call(root, tmp_path):
    """Arguments of the tool, with the data set in a YAML file."""
    augmentation = {"class_path": "datamodules.samples.transforms.DepthAugmentation"}
    choices = {"fields": ["semantic"], "image_size": list(SIZE), "batch_size": 4, "augmentation": augmentation}
    write_rooms_yaml(tmp_path / "data.yaml", root, **choices)

    def make(teacher, *, kind="semantic", out="labels.h5", more=()):
        words = ["--data", tmp_path / "data.yaml", "--teacher", teacher, "--kind", kind, "--out", tmp_path / out]
        return [str(word) for word in (*words, "--accelerator", "cpu", *more)]

    return make


def read_frames(root, split="train") -> list[Frame]:
    source = make_data(root).make_source(split)
    return [resize(source.read(index), SIZE) for index in range(len(source))]


def as_batch(frames):
    return torch.stack([torch.from_numpy(f.image) for f in frames]).permute(0, 3, 1, 2).float() / 255


def test_a_segmenter_labels_every_training_frame_unaugmented_and_in_order(root, call, tmp_path, capsys):
    segmenter = save_segmenter_checkpoint(tmp_path / "best.ckpt", n_classes=N_CLASSES).eval()
    assert main(call(tmp_path / "best.ckpt")) == 0
    frames = read_frames(root)
    store = LabelStore(tmp_path / "labels.h5")
    assert store.names == [frame.name for frame in frames]
    with torch.no_grad():
        expected = segmenter(as_batch(frames)).numpy()
    labels = np.stack([store.read(name) for name in store.names])
    assert (labels == expected).mean() > 0.999  # batches of another size may round a tie differently
    truth = np.stack([frame.labels["semantic"] for frame in frames])
    known = truth > 0
    said = capsys.readouterr().out
    assert f"{len(frames)} labels of 'tiny_segmenter" in said
    assert f"pixel_accuracy {(labels == truth)[known].mean():.4f}" in said
    assert store.settings.pop("data").startswith("rooms-")
    assert store.settings == {"image_size": list(SIZE), "n_classes": N_CLASSES}
    assert store.teacher.startswith("tiny_segmenter ")


def test_a_stopped_run_labels_only_what_is_missing(root, call, tmp_path, capsys, monkeypatch):
    save_segmenter_checkpoint(tmp_path / "best.ckpt", n_classes=N_CLASSES)
    main(call(tmp_path / "best.ckpt", out="whole.h5"))
    whole = LabelStore(tmp_path / "whole.h5")
    done = whole.names[3:7]
    with LabelWriter(tmp_path / "labels.h5", kind="semantic", teacher=whole.teacher, settings=whole.settings) as writer:
        for name in done:
            writer.write(name, np.full(SIZE, 9, dtype=np.uint8))
    seen = []
    step = Teacher.predict_step
    monkeypatch.setattr(Teacher, "predict_step", lambda self, b, i: seen.extend(b["name"]) or step(self, b, i))
    capsys.readouterr()
    assert main(call(tmp_path / "best.ckpt")) == 0
    assert f"{len(whole) - 4} of them new" in capsys.readouterr().out
    assert seen == [name for name in whole.names if name not in done]
    store = LabelStore(tmp_path / "labels.h5")
    assert (store.read(done[0]) == 9).all()
    assert set(store.names) == set(whole.names)
    seen.clear()
    assert main(call(tmp_path / "best.ckpt")) == 0
    assert seen == []


def test_splits_share_a_file(root, call, tmp_path):
    save_segmenter_checkpoint(tmp_path / "best.ckpt", n_classes=N_CLASSES)
    assert main(call(tmp_path / "best.ckpt", more=["--split", "train", "val"])) == 0
    names = [frame.name for split in ("train", "val") for frame in read_frames(root, split)]
    assert LabelStore(tmp_path / "labels.h5").names == names


def test_another_teachers_file_is_refused(call, tmp_path, capsys):
    save_segmenter_checkpoint(tmp_path / "one.ckpt", n_classes=N_CLASSES, seed=1)
    save_segmenter_checkpoint(tmp_path / "two.ckpt", n_classes=N_CLASSES, seed=2)
    assert main(call(tmp_path / "one.ckpt")) == 0
    before = (tmp_path / "labels.h5").read_bytes()
    assert main(call(tmp_path / "two.ckpt")) == 1
    assert re.search("was made with .*teacher.*tiny_segmenter", capsys.readouterr().err)
    assert (tmp_path / "labels.h5").read_bytes() == before


def test_depth_is_compared_with_ground_truth_in_metres(root, call, tmp_path, capsys):
    save_depth_checkpoint(tmp_path / "best.ckpt", depth_m=3.0)
    assert main(call(tmp_path / "best.ckpt", kind="depth")) == 0
    errors = []
    for frame in read_frames(root):
        truth = frame.depth[frame.depth > 0]
        errors.append(np.mean(np.abs(truth - 3.0) / truth))
    assert f"abs_rel_img {np.mean(errors):.4f}" in capsys.readouterr().out
    store = LabelStore(tmp_path / "labels.h5")
    assert (store.kind, store.settings["relative"]) == ("depth", False)
    np.testing.assert_allclose(store.read(store.names[0]), np.full(SIZE, 3.0), rtol=1e-6)


class PartialGroundTruth(Dataset):
    """Frames of 4x6 pixels at 2 m; the chosen ones have ground truth in the left half."""

    def __init__(self, known):
        self.known = known

    def __len__(self):
        return len(self.known)

    def __getitem__(self, index):
        mask = torch.zeros(1, 4, 6, dtype=torch.bool)
        mask[..., :3] = self.known[index]
        return {
            "name": str(index),
            "depth": 2.0 * mask,
            "depth_mask": mask,
            "depth_scale_m": torch.tensor(10.0),
        }


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ([True, True], "against ground truth: abs_rel_img 0.5000"),
        ([False, True], "against ground truth of 1 of 2 images: abs_rel_img 0.5000"),
        ([False, False], "no ground truth to compare with: none of the 2 images has known depth"),
    ],
)
def test_depth_is_compared_only_on_pixels_with_ground_truth(tmp_path, known, said):
    with LabelWriter(tmp_path / "depth.h5", kind="depth", teacher="a test", settings={}) as writer:
        for name in ("0", "1"):
            depth = np.full((8, 12), 3.0, np.float32)
            depth[:4] = 0  # pixels without a label are not compared
            writer.write(name, depth)
        writer.finish()
    assert depth_report(PartialGroundTruth(known), LabelStore(tmp_path / "depth.h5"), relative=False) == said


@needs_transformers
def test_classes_of_another_label_set_are_matched_before_the_evaluation(root, call, tmp_path, capsys):
    make_segformer(tmp_path / "tiny")
    assert main(call(tmp_path / "tiny")) == 0
    store = LabelStore(tmp_path / "labels.h5")
    assert store.settings["class_names"]["1"] == "label 0"
    truth = np.stack([frame.labels["semantic"] for frame in read_frames(root)])
    labels = np.stack([store.read(name) for name in store.names])
    right = sum(np.bincount(truth[(labels == c) & (truth > 0)], minlength=1).max() for c in np.unique(labels))
    said = capsys.readouterr().out
    assert f"pixel_accuracy {right / (truth > 0).sum():.4f}" in said
    assert "overlaps most" in said


@needs_transformers
def test_relative_depth_is_aligned_before_the_evaluation(call, tmp_path, capsys):
    make_depth_anything(tmp_path / "tiny")
    assert main(call(tmp_path / "tiny", kind="depth")) == 0
    assert "abs_rel_img_median 0." in capsys.readouterr().out
    assert LabelStore(tmp_path / "labels.h5").settings["relative"] is True


def test_data_without_classes_are_reported(call, tmp_path, capsys):
    save_segmenter_checkpoint(tmp_path / "best.ckpt", n_classes=N_CLASSES)
    assert main(call(tmp_path / "best.ckpt", more=["--data.init_args.fields", "[]"])) == 0
    assert "the data have no classes" in capsys.readouterr().out


def test_a_wrong_call_names_the_fault(call, tmp_path, capsys):
    assert main(call(tmp_path / "none.ckpt")) == 1
    assert "none.ckpt' does not exist" in capsys.readouterr().err
    assert main(call(tmp_path / "none.ckpt", kind="planes")) == 2
    assert main(call(tmp_path / "none.ckpt", more=["--splt", "val"])) == 2
    assert "splt: there is no such setting; did you mean 'split'?" in capsys.readouterr().err
    assert not (tmp_path / "labels.h5").exists()


def test_an_output_that_cannot_be_written_is_named_before_the_teacher_is_read(call, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken").write_text("kept")
    for out, said in (
        ("folder", "is a folder, but a file is to be written"),
        ("taken/labels.h5", "is a file, but a folder is needed"),
    ):
        assert main(call(tmp_path / "none.ckpt", out=out)) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert "Errno" not in line
    assert (tmp_path / "taken").read_text() == "kept"


def test_two_frames_of_one_name_are_refused(root):
    frames = unaugmented_frames(make_data(root), ["train", "train"])
    with pytest.raises(ValueError, match="two frames are called 'still/train/"):
        survey(frames)
