"""The summary of a run: what it names, what it draws, and runs that lack a part of it."""

import csv

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch.utils.data import DataLoader

from lightning_modules.callbacks.pictures import DepthPictures
from lightning_modules.runs.summary import (
    learning_curves,
    main_metrics,
    summary_lines,
    summary_picture,
    write_summary,
)
from renderers.figure import WIDTH, Picture, PictureRow, draw_figure
from tests.helpers import quiet_trainer

RECORD = {
    **{"run": "20261130-long", "experiment": "lite_unet", "seed": 3, "steps": 600, "fit_minutes": 9.75},
    **{"parameters": 2_345_678, "commit": "0123456789abcdef+dirty"},
    "last": {"val/abs_rel_img": 0.2, "train/loss": 1.0, "val/score": 0.2},
}
TEST = {"test/abs_rel_img": 0.153, "test/sq_rel_img": 0.5, "test/delta1_img": 0.8, "test/abs_rel_textured_img": 1.0}


def row(name="room", count=4, size=(96, 128)):
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    return PictureRow(name, tuple(Picture(f"m{k}", pixels) for k in range(count)), "AbsRel 0.1")


def test_the_lines_name_run_step_commit_and_main_metrics():
    assert summary_lines(RECORD, "step_000600") == [
        "run 20261130-long, seed 3, step 600, 9.75 minutes, 2.35 M parameters, commit 01234567+",
        "validation:  abs_rel_img 0.200",
        "pictures: validation at step 600",
    ]
    assert summary_lines({**RECORD, "test": TEST}, "test")[1:] == [
        "test:  abs_rel_img 0.153   delta1_img 0.800",
        "pictures: test",
    ]
    assert summary_lines({"run": "a"}, "") == ["run a, commit unknown"]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["mask_ap", "mask_ap_small", "box_ap", "mask_iou", "mask_iou_thin"], ["mask_ap", "box_ap", "mask_iou"]),
        (["abs_rel_img_lsq", "chamfer_m", "inconsistency", "lsiv"], ["abs_rel_img_lsq", "chamfer_m", "inconsistency"]),
        (["zeta", "alpha"], ["alpha", "zeta"]),
    ],
)
def test_main_metrics_of_every_task(names, chosen):
    stage, found = main_metrics({"test": {f"test/{name}": 0.5 for name in names}})
    assert stage == "test"
    assert list(found) == chosen
    assert main_metrics({}) == ("", {})


def write_metrics(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "train/loss", "val/score"])
        writer.writeheader()
        writer.writerows(rows)


def test_curves_have_the_steps_that_have_a_value(tmp_path):
    write_metrics(
        tmp_path / "metrics.csv",
        [
            {"step": 0, "train/loss": 3.0},
            {"step": 9, "train/loss": 2.0, "val/score": 0.5},
            {"step": 19, "train/loss": "nan", "val/score": 0.4},
            {"step": 29, "train/loss": "torn"},
        ],
    )
    assert learning_curves(tmp_path / "metrics.csv") == {
        "train/loss": ([0, 9], [3.0, 2.0]),
        "val/score": ([9, 19], [0.5, 0.4]),
    }
    write_metrics(tmp_path / "metrics.csv", [{"step": 0, "val/score": 0.5}])
    assert learning_curves(tmp_path / "metrics.csv") == {}
    assert learning_curves(tmp_path / "none.csv") == {}


def test_each_part_stands_below_the_other():
    bare = summary_picture("lite_unet", ["run a"], {}, [])
    curves = {"train/loss": ([0, 1, 2], [3.0, 2.0, 1.0]), "val/score": ([0, 2], [0.5, 0.4])}
    with_curves = summary_picture("lite_unet", ["run a"], curves, [])
    rows = [row(), row("other", count=2)]
    whole = summary_picture("lite_unet", ["run a"], curves, rows)
    assert whole.shape[1] <= WIDTH
    np.testing.assert_array_equal(whole[: len(bare), : bare.shape[1]], bare)
    np.testing.assert_array_equal(whole[: len(with_curves), : with_curves.shape[1]], with_curves)
    figure = draw_figure(rows).pixels
    np.testing.assert_array_equal(whole[len(with_curves) :, : figure.shape[1]], figure)
    other = summary_picture("gam_depth", ["run a"], {}, [])
    assert (other != bare).any()
    assert summary_picture("x" * 500, ["y" * 500], {}, []).shape == bare.shape


class Ramp(LightningModule):
    def forward(self, image):
        return torch.linspace(1, 5, 16).expand(len(image), 1, 8, 16)

    def test_step(self, batch, batch_idx):
        pass


def samples():
    depth = torch.linspace(1, 5, 16).expand(1, 8, 16)
    sample = {"image": torch.zeros(3, 8, 16), "depth": depth, "depth_mask": depth > 0, "name": "a"}
    return DataLoader([sample] * 4, batch_size=2)


def test_a_run_gets_its_pictures(tmp_path):
    callback = DepthPictures(count=4)
    trainer = quiet_trainer(callbacks=[callback], default_root_dir=tmp_path)
    trainer.test(Ramp(), samples(), verbose=False)
    assert write_summary(trainer, RECORD) == tmp_path / "summary.png"
    picture = cv2.imread(str(tmp_path / "summary.png"))[..., ::-1]
    np.testing.assert_array_equal(
        picture, summary_picture("lite_unet", summary_lines(RECORD, "test"), {}, callback.drawn_rows[:3])
    )


def test_a_summary_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "summary.png").mkdir()
    trainer = quiet_trainer(callbacks=[], default_root_dir=tmp_path)
    assert write_summary(trainer, RECORD) is None
    assert "no summary.png was written: '" in caplog.text
