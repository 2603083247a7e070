"""``tools.predict`` with networks of instance and semantic segmentation."""

import json

import cv2
import numpy as np
import pytest
import torch

from datamodules.samples.instance_dataset import InstanceDataset
from datamodules.samples.instance_frame import InstanceFrame
from lightning_modules.tasks.instance_segmentation import InstanceSegmentationModule
from lightning_modules.teachers.segmenter import Segmenter
from tests.data.make_teachers import save_instances_checkpoint, save_segmenter_checkpoint
from tools.predict import main


@pytest.fixture
def checkpoint(tmp_path):
    """A depth-guided network of persons and bicycles with random weights, as a training checkpoint."""
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    save_instances_checkpoint(path)
    (tmp_path / "run" / "config.yaml").write_text("data: {init_args: {image_size: [64, 96]}}\n")
    return path


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "street").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "street" / "a.v1.png"), pixels)
    cv2.imwrite(str(folder / "b.png"), pixels[::-1, :41])
    return folder


def run(checkpoint, source, output, *more):
    return main(["--checkpoint", str(checkpoint), "--input", str(source), "--output", str(output), *more])


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def two_rectangles(self, batch):
    """A bicycle and a person at known places of every image; the person has the lower score."""
    height, width = batch["original_image"].shape[-2:]
    masks = torch.zeros(2, height, width, dtype=torch.bool)
    masks[0, 5:20, 10:30], masks[1, 12:40, 20:35] = True, True
    boxes = torch.tensor([[10.0, 5.0, 30.0, 20.0], [20.0, 12.0, 35.0, 40.0]])
    return [{"boxes": boxes, "labels": torch.tensor([2, 1]), "scores": torch.tensor([0.9, 0.4]), "masks": masks}]


def test_masks_boxes_and_names_are_read_back_from_the_files(tmp_path, checkpoint, photos, monkeypatch, capsys):
    from faster_coco_eval.core import mask as coco_masks

    monkeypatch.setattr(InstanceSegmentationModule, "detect", two_rectangles)
    assert run(checkpoint, photos, tmp_path / "out") == 0
    stems = ["b", "street/a.v1"]
    kinds = ["_instances.json", "_instances.png", "_masks.png"]
    assert files(tmp_path / "out") == sorted([f"{stem}{kind}" for stem in stems for kind in kinds] + ["results.json"])
    record = json.loads((tmp_path / "out" / "street" / "a.v1_instances.json").read_text())
    assert (record["name"], record["height"], record["width"]) == ("street/a.v1", 50, 70)
    assert [found["class"] for found in record["instances"]] == ["Fahrrad Ü", "person"]
    assert [found["category_id"] for found in record["instances"]] == [90, 1]
    assert [found["score"] for found in record["instances"]] == pytest.approx([0.9, 0.4])
    assert record["instances"][1]["box_xyxy"] == [20, 12, 35, 40]
    assert record["instances"][1]["area"] == 28 * 15
    expected = np.zeros((50, 70), bool)
    expected[12:40, 20:35] = True
    np.testing.assert_array_equal(coco_masks.decode(record["instances"][1]["segmentation"]).astype(bool), expected)
    numbers = cv2.imread(str(tmp_path / "out" / "street" / "a.v1_masks.png"), cv2.IMREAD_UNCHANGED)
    assert numbers.dtype == np.uint8
    assert np.bincount(numbers.ravel()).tolist() == [
        50 * 70 - 300 - 420 + 80,
        300,
        420 - 80,
    ]  # the highest score on top
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [(r["file_name"], r["category_name"]) for r in results] == [
        (stem, name) for stem in stems for name in ("Fahrrad Ü", "person")
    ]
    said = capsys.readouterr()
    assert "2 images done" in said.out
    assert "numbers" not in said.err


def test_the_threshold_applies_to_all_files(tmp_path, checkpoint, photos, monkeypatch):
    monkeypatch.setattr(InstanceSegmentationModule, "detect", two_rectangles)
    assert run(checkpoint, photos / "b.png", tmp_path / "out", "--score-threshold", "0.5", "--no-panel") == 0
    assert files(tmp_path / "out") == ["b_instances.json", "b_masks.png", "results.json"]
    record = json.loads((tmp_path / "out" / "b_instances.json").read_text())
    assert [found["class"] for found in record["instances"]] == ["Fahrrad Ü"]
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())) == 1
    assert cv2.imread(str(tmp_path / "out" / "b_masks.png"), cv2.IMREAD_UNCHANGED).max() == 1


def test_photos_are_preprocessed_as_in_evaluation_without_depth(tmp_path, checkpoint, photos):
    """The same image through the data set that evaluation uses gives the same detections."""

    class Photo:
        names = ("b",)

        def __len__(self):
            return 1

        def read(self, index, *, masks):
            pixels = np.ascontiguousarray(cv2.imread(str(photos / "b.png"))[..., ::-1])
            empty = {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}
            return InstanceFrame(image=pixels, name="b", image_id=1, original_size=(50, 41), masks=None, **empty)

        def truth(self, index):
            return None

    from datamodules.samples.instance_dataset import collate_instances
    from lightning_modules.runs.loading import load_module

    module = load_module(checkpoint)
    assert module.class_names == ["person", "Fahrrad Ü"]
    batch = collate_instances([InstanceDataset(Photo(), image_size=(64, 96))[0]])
    assert "pseudo_depth" not in batch
    module.score_threshold = 0.0
    module.network.head.logits.bias.data.fill_(0.5)
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["network.head.logits.bias"].fill_(0.5)
    torch.save(content, checkpoint)
    with torch.no_grad():
        (found,) = module.detect(batch)
    assert run(checkpoint, photos / "b.png", tmp_path / "out", "--score-threshold", "0") == 0
    record = json.loads((tmp_path / "out" / "b_instances.json").read_text())
    assert len(found["labels"]) == len(record["instances"]) > 3
    np.testing.assert_allclose([i["box_xyxy"] for i in record["instances"]], found["boxes"], atol=0.006)
    assert [i["area"] for i in record["instances"]] == found["masks"].flatten(1).sum(dim=1).tolist()
    middle = float(found["scores"].median())
    assert run(checkpoint, photos / "b.png", tmp_path / "half", "--score-threshold", str(middle)) == 0
    half = json.loads((tmp_path / "half" / "b_instances.json").read_text())["instances"]
    assert half == record["instances"][: int((found["scores"] >= middle).sum())]


def test_a_checkpoint_without_names_gives_numbers_and_a_note(tmp_path, checkpoint, photos, monkeypatch, capsys):
    content = torch.load(checkpoint, weights_only=True)
    del content["plumbline"]["class_names"], content["plumbline"]["category_ids"]
    torch.save(content, checkpoint)
    monkeypatch.setattr(InstanceSegmentationModule, "detect", two_rectangles)
    assert run(checkpoint, photos / "b.png", tmp_path / "out") == 0
    record = json.loads((tmp_path / "out" / "b_instances.json").read_text())
    assert [found["class"] for found in record["instances"]] == ["2", "1"]
    assert "holds no class names" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [["--ply"], ["--field-of-view", "60"], ["--k", "50", "50", "20", "20"], ["--range", "1", "2"], ["--range", "all"]],
)
def test_flags_of_depth_are_refused(tmp_path, checkpoint, photos, capsys, flags):
    assert run(checkpoint, photos, tmp_path / "out", *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert f"predicts instances, to which {flags[0]} does not apply: leave it out" in line
    assert not (tmp_path / "out").exists()


def test_a_broken_photo_is_skipped_and_the_others_are_predicted(tmp_path, checkpoint, photos, monkeypatch, capfd):
    monkeypatch.setattr(InstanceSegmentationModule, "detect", two_rectangles)
    (photos / "a.png").write_bytes((photos / "b.png").read_bytes()[:900])
    assert run(checkpoint, photos, tmp_path / "out", "--no-panel") == 1
    assert "2 images done" in (said := capfd.readouterr().out)
    assert "1 skipped" in said
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())) == 4


def test_finished_results_stay_after_an_error(tmp_path, checkpoint, photos, monkeypatch, capsys):
    monkeypatch.setattr(InstanceSegmentationModule, "detect", two_rectangles)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "street").write_text("a file where a folder has to be")
    assert run(checkpoint, photos, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert f"'{tmp_path / 'out' / 'street'}' is a file, but a folder is needed" in said
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())) >= 2


def test_frames_of_a_video_get_instances(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(InstanceSegmentationModule, "detect", two_rectangles)
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (70, 50))
    for level in (0, 100):
        writer.write(np.full((50, 70, 3), level, dtype=np.uint8))
    writer.release()
    assert run(checkpoint, tmp_path / "clip.avi", tmp_path / "out", "--no-panel") == 0
    kinds = ("_instances.json", "_masks.png")
    assert files(tmp_path / "out") == [f"clip/{n:06d}{kind}" for n in range(2) for kind in kinds] + ["results.json"]


def test_a_video_of_instances_comes_out_of_a_video(tmp_path, checkpoint, photos, monkeypatch, capsys):
    monkeypatch.setattr(InstanceSegmentationModule, "detect", two_rectangles)
    for name, count in (("first", 3), ("second", 2)):
        writer = cv2.VideoWriter(str(photos / f"{name}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (70, 50))
        for level in range(count):
            writer.write(np.full((50, 70, 3), 60 * level, dtype=np.uint8))
        writer.release()
    assert run(checkpoint, photos, tmp_path / "out", "--no-panel", "--video") == 0
    for name, count in (("first", 3), ("second", 2)):
        capture = cv2.VideoCapture(str(tmp_path / "out" / f"{name}_instances.mp4"))
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == count
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
        _, frame = capture.read()
        colourful = np.split(np.ptp(frame, axis=2), [frame.shape[1] // 2], axis=1)
        assert colourful[0].mean() < 5 < 10 < colourful[1].mean()  # a grey frame beside coloured instances
    assert not list((tmp_path / "out").glob(".*"))
    assert run(checkpoint, photos / "b.png", tmp_path / "more", "--video") == 2
    assert "--video needs a video as input" in capsys.readouterr().err


def test_a_video_that_cannot_be_written_is_the_reason_that_is_given(tmp_path, checkpoint, photos, monkeypatch, capsys):
    monkeypatch.setattr(InstanceSegmentationModule, "detect", two_rectangles)
    writer = cv2.VideoWriter(str(photos / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (70, 50))
    writer.write(np.zeros((50, 70, 3), dtype=np.uint8))
    writer.release()

    def full(self, size):
        raise OSError("No space left on device")

    monkeypatch.setattr("lightning_modules.callbacks.video_file.VideoFile._opened", full)
    assert run(checkpoint, photos, tmp_path / "out", "--no-panel", "--video") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert isinstance(json.loads((tmp_path / "out" / "results.json").read_text()), list)


def quadrants(self, image):
    """Class 1 left and 3 right, and 2 in the lower half of both."""
    labels = torch.ones(len(image), *image.shape[2:], dtype=torch.int64)
    labels[..., 32:] = 3
    labels[:, 32:] = 2
    return labels


def test_a_segmenter_gives_label_maps_with_names_and_colours(tmp_path, photos, monkeypatch, capsys):
    path = tmp_path / "segmenter.ckpt"
    save_segmenter_checkpoint(path, n_classes=3)
    content = torch.load(path, weights_only=True)
    content["plumbline"]["class_names"] = ["wall", "floor", "chair"]
    torch.save(content, path)
    monkeypatch.setattr(Segmenter, "forward", quadrants)
    cv2.imwrite(str(photos / "square.png"), np.full((130, 130, 3), 7, np.uint8))
    assert run(path, photos / "square.png", tmp_path / "out", "--size", "64", "64") == 0
    names = ["classes.json", "square_color.png", "square_labels.png", "square_panel.png"]
    assert files(tmp_path / "out") == names
    labels = cv2.imread(str(tmp_path / "out" / "square_labels.png"), cv2.IMREAD_UNCHANGED)
    expected = np.ones((130, 130), np.uint8)
    expected[:, 65:] = 3
    expected[65:] = 2
    np.testing.assert_array_equal(labels, expected)
    table = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert {number: entry["name"] for number, entry in table.items()} == {"1": "wall", "2": "floor", "3": "chair"}
    colours = cv2.imread(str(tmp_path / "out" / "square_color.png"))[..., ::-1]
    for number in (1, 2, 3):
        assert (colours[expected == number] == table[str(number)]["colour"]).all()
    assert cv2.imread(str(tmp_path / "out" / "square_panel.png")).shape == (130, 2 * 130 + 200, 3)
    assert run(path, photos / "square.png", tmp_path / "more", "--video") == 2
    assert "predicts classes of pixels, to which --video does not apply" in capsys.readouterr().err
    assert run(path, photos / "square.png", tmp_path / "more", "--score-threshold", "0.5") == 2
    assert "predicts classes of pixels, to which --score-threshold" in capsys.readouterr().err


def test_earlier_results_of_other_tasks_are_replaced_with_a_note(tmp_path, checkpoint, photos, monkeypatch, capsys):
    monkeypatch.setattr(InstanceSegmentationModule, "detect", two_rectangles)
    assert run(checkpoint, photos / "b.png", tmp_path / "out", "--no-panel") == 0
    assert "earlier results" not in capsys.readouterr().err
    assert run(checkpoint, photos / "b.png", tmp_path / "out", "--no-panel") == 0
    assert "holds earlier results; those of these images are replaced" in capsys.readouterr().err
