import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from faster_coco_eval.core import mask as coco_masks
from jsonargparse import ArgumentParser

from datamodules.rooms.datamodule import RoomsDataModule
from lightning_modules.boxinst_depth import BoxInstDepth
from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.evaluation import DepthEvaluation
from tests.data.make_huggingface import make_depth_anything
from tests.data.make_instance_batch import tiny_network
from tests.data.make_teachers import save_affine_checkpoint, save_depth_checkpoint, save_instances_checkpoint
from tests.helpers import Affine, quiet_trainer
from tools import compare
from tools.compare import Row, main, measure, table

ROOT = Path(__file__).parents[2]
BOXES = {"classification": 1.0, "boxes": 1.0, "quality": 1.0, "projection": 1.0}


@pytest.fixture
def words(tmp_path, rooms_root):
    """The call on tiny test rooms."""
    settings = yaml.safe_load((ROOT / "tests" / "overlays" / "rooms.yaml").read_text())["data"]["init_args"]
    settings |= {"root": str(rooms_root), "batch_size": 1}
    file = tmp_path / "data.yaml"
    file.write_text(
        yaml.safe_dump({"class_path": "datamodules.rooms.datamodule.RoomsDataModule", "init_args": settings})
    )
    return ["--data", str(file), "--device", "cpu"]


@pytest.fixture
def checkpoints(tmp_path):
    save_depth_checkpoint(tmp_path / "constant.ckpt", depth_m=2.0)
    save_affine_checkpoint(tmp_path / "affine.ckpt")
    return [str(tmp_path / "constant.ckpt"), str(tmp_path / "affine.ckpt")]


def test_networks_of_every_kind_are_measured_alike(tmp_path, words, checkpoints):
    make_depth_anything(tmp_path / "hf")
    sources = [*checkpoints, f"hf:{tmp_path / 'hf'}"]
    rows = [measure(source, [*words, "--models", str(sources)]) for source in sources]
    assert all(isinstance(row, Row) for row in rows), rows
    assert [row.model for row in rows] == sources
    assert len({row.images for row in rows}) == 1
    for row in rows:
        assert 0 < row.metrics["abs_rel"] < 2
        assert row.parameters > 0
        assert row.memory_mb > 10
    assert rows[0].parameters == 1
    evaluation = DepthEvaluation(alignment="least_squares", min_depth_m=0.1)
    module = SupervisedDepth(Affine(), canonical_focal_px=50.0, evaluation=evaluation)
    settings = yaml.safe_load((tmp_path / "data.yaml").read_text())["init_args"]
    made = ArgumentParser()
    made.add_class_arguments(RoomsDataModule, "data")
    data = made.instantiate(made.parse_object({"data": settings})).data
    (tested,) = quiet_trainer().test(module, datamodule=data, verbose=False)
    for name in ("abs_rel", "rmse", "delta1"):
        assert rows[1].metrics[name] == pytest.approx(tested[f"test/{name}_img_lsq"], rel=1e-4)


@pytest.fixture
def instance_words(tmp_path, rooms_root):
    """The call on two classes of tiny rooms, and their settings."""
    settings = yaml.safe_load((ROOT / "tests" / "overlays" / "rooms_instances.yaml").read_text())["data"]["init_args"]
    settings |= {"root": str(rooms_root), "batch_size": 1, "classes": ["door", "picture"]}
    file = tmp_path / "instances.yaml"
    kind = "datamodules.rooms.instances.RoomsInstanceDataModule"
    file.write_text(yaml.safe_dump({"class_path": kind, "init_args": settings}))
    return ["--data", str(file), "--device", "cpu"]


class TruthAsPrediction(BoxInstDepth):
    """Detects the ground truth, with masks that miss their upper half unless ``whole``."""

    whole = True

    def predict_step(self, batch, batch_idx):
        found = []
        for truth, (height, width) in zip(batch["truth"], batch["original_size"].tolist(), strict=True):
            masks = np.zeros((height, width, 0)) if not truth["masks"] else coco_masks.decode(truth["masks"])
            masks = torch.from_numpy(masks.astype(bool)).permute(2, 0, 1).clone()
            for mask in () if self.whole else masks:
                rows = mask.any(dim=1).nonzero()[:, 0]
                mask[rows.min() : (rows.min() + rows.max() + 1) // 2] = False
            scores = torch.linspace(1, 0.5, len(masks))
            found.append({"boxes": truth["boxes"], "labels": truth["labels"], "scores": scores, "masks": masks})
        return found


@pytest.mark.parametrize("whole", [True, False])
def test_instances_are_scored_by_their_masks_and_boxes(whole, instance_words, monkeypatch):
    module = TruthAsPrediction(network=tiny_network(), loss_weights=BOXES)
    module.whole = whole
    monkeypatch.setattr(compare, "load_any", lambda source: (module, 5))
    row = measure("truth", [*instance_words, "--models", "[truth]"])
    assert isinstance(row, Row), row
    assert row.metrics["box_ap"] == pytest.approx(1)
    if whole:
        assert row.metrics["mask_ap"] == row.metrics["mask_ap50"] == pytest.approx(1)
    else:
        assert row.metrics["mask_ap"] < 0.6
    assert table([row], "").startswith("| model | mask_ap | mask_ap50 | box_ap | parameters |")


def test_a_checkpoint_of_instances_has_the_scores_of_its_test(tmp_path, instance_words):
    module = save_instances_checkpoint(tmp_path / "found.ckpt")
    call = [*instance_words, "--data.init_args.min_area", "1", "--models", f"[{tmp_path / 'found.ckpt'}]"]
    row = measure(str(tmp_path / "found.ckpt"), call)
    assert isinstance(row, Row), row
    made = compare.parser()
    data = made.instantiate(made.parse_args(call)).data
    (tested,) = quiet_trainer().test(module, datamodule=data, verbose=False)
    for name in ("mask_ap", "mask_ap50", "box_ap", "mask_iou"):
        assert row.metrics[name] == pytest.approx(tested[f"test/{name}"], abs=1e-6, nan_ok=True), name


def test_instances_of_other_classes_are_refused(tmp_path, instance_words):
    save_instances_checkpoint(tmp_path / "found.ckpt")
    three = "--data.init_args.classes=[door, picture, chair]"
    assert "predicts 2 classes, but the data have 3" in measure(
        str(tmp_path / "found.ckpt"), [*instance_words, three, "--models", "[x]"]
    )


def test_what_cannot_be_compared_is_listed_with_the_reason(tmp_path, words, checkpoints, monkeypatch, capsys):
    class InThisProcess:
        def __init__(self, *_, **__): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def submit(self, call, *arguments):
            value = call(*arguments)
            return type("Done", (), {"result": lambda self: value})()

    monkeypatch.setattr(compare, "ProcessPoolExecutor", InThisProcess)
    gone, out = str(tmp_path / "gone.ckpt"), tmp_path / "table.md"
    assert main([*words, "--models", str([checkpoints[0], gone]), "--output", str(out)]) == 1
    said = capsys.readouterr()
    assert f"left out: {gone}: checkpoint '{gone}' does not exist" in said.err
    assert said.out == out.read_text()
    assert f"| {checkpoints[0]} | **" in said.out
    assert "test images; alignment least_squares, 0.1 to 10 m, on cpu" in said.out
    assert main([*words, "--models", str([checkpoints[0]]), "--alignment", "best"]) == 2
    assert "alignment" in capsys.readouterr().err


def test_a_calibration_shifts_the_depth_of_one_network(tmp_path, words, instance_words, checkpoints, capsys):
    settings = {"output": "depth", "shift": 1.5, "shift_interval": [1.0, 2.0], "domain": "rooms", "teacher": "x"}
    (tmp_path / "shift.yaml").write_text(yaml.safe_dump(settings | {"images": 9}))
    given = ["--calibration", str(tmp_path / "shift.yaml"), "--alignment", "none"]
    save_depth_checkpoint(tmp_path / "farther.ckpt", depth_m=3.5)
    farther = measure(str(tmp_path / "farther.ckpt"), [*words, "--alignment", "none", "--models", "[x]"])
    shifted = measure(checkpoints[0], [*words, *given, "--models", "[x]"])
    assert shifted.metrics["abs_rel"] == pytest.approx(farther.metrics["abs_rel"])
    save_instances_checkpoint(tmp_path / "found.ckpt")
    refused = measure(str(tmp_path / "found.ckpt"), [*instance_words, *given, "--models", "[x]"])
    assert "--calibration is a shift of depth, which it does not predict" in refused
    assert main([*words, *given, "--models", str(checkpoints)]) == 1
    assert "a calibration belongs to one network" in capsys.readouterr().err


def test_the_best_of_each_metric_is_bold():
    rows = [
        Row("a", {"abs_rel": 0.2, "delta1": 0.9, "other": 1.0}, 1200, 10.0, 500.0, 7),
        Row("b", {"abs_rel": 0.1, "delta1": math.nan}, None, math.nan, 600.0, 7),
    ]
    text = table(rows, "the protocol").splitlines()
    assert text[0] == "| model | abs_rel | delta1 | parameters | images/s | memory (MB) |"
    assert text[2] == "| a | 0.2000 | **0.9000** | 1,200 | 10.0 | 500 |"
    assert text[3] == "| b | **0.1000** | nan | - | nan | 600 |"
    assert text[5] == "7 test images; the protocol"
