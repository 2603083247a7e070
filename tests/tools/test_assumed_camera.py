"""The field of view of unknown cameras when a checkpoint labels data with another assumption."""

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from structures.label_store import LabelStore
from tests.data.make_teachers import save_depth_checkpoint, save_segmenter_checkpoint
from tools.assumed_camera import AssumedCamera, with_training_camera
from tools.pseudo_labels import main


class Cameras(Dataset):
    """Two images of 48x64 pixels with the same K: the first camera is known, the second is assumed."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        K = torch.tensor([[60.0, 0, 30], [0, 90, 20], [0, 0, 1]])
        return {"image": torch.zeros(3, 48, 64), "K": K, "K_known": torch.tensor(index == 0), "name": str(index)}


def test_only_assumed_intrinsics_are_replaced():
    frames = AssumedCamera(Cameras(), 90.0)
    known, assumed = frames[0], frames[1]
    assert torch.equal(known["K"], Cameras()[0]["K"])
    # 90 degrees over 64 pixels: fx = 32. The aspect ratio of the pixels and the principal point stay.
    torch.testing.assert_close(assumed["K"], torch.tensor([[32.0, 0, 30], [0, 48, 20], [0, 0, 1]]))
    assert len(frames) == 2


@pytest.mark.parametrize(("stored", "fx"), [({"assumed_field_of_view_degrees": 90.0}, 32.0), ({}, 60.0), (None, 60.0)])
def test_the_field_of_view_is_that_of_the_checkpoint_where_it_has_one(tmp_path, stored, fx):
    path = tmp_path / "best.ckpt"
    save_depth_checkpoint(path, depth_m=2.0, canonical_focal_px=60.0)
    if stored is not None:
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["plumbline"]["data"] = stored
        torch.save(checkpoint, path)
    frames = with_training_camera(Cameras(), str(path))
    assert float(frames[1]["K"][0, 0]) == pytest.approx(fx)
    assert float(frames[0]["K"][0, 0]) == 60.0


def test_other_teachers_keep_the_camera_of_the_data(tmp_path):
    frames = Cameras()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert with_training_camera(frames, str(tmp_path / "model")) is frames
    save_segmenter_checkpoint(tmp_path / "best.ckpt", n_classes=3)
    assert with_training_camera(frames, str(tmp_path / "best.ckpt")) is frames


def test_pseudo_labels_of_unknown_cameras_have_the_depth_of_the_training_camera(tmp_path):
    rows = ["image,depth,split,depth_scale"]
    for index, split in enumerate(("train", "test")):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), 50 + index, np.uint8))
        cv2.imwrite(str(tmp_path / f"{index}_depth.png"), np.full((48, 64), 2000, np.uint16))
        rows.append(f"{index}.png,{index}_depth.png,{split},1000")
    (tmp_path / "frames.csv").write_text("\n".join(rows) + "\n")
    path = tmp_path / "best.ckpt"
    save_depth_checkpoint(path, depth_m=2.0, canonical_focal_px=64.0)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["plumbline"]["data"] = {"assumed_field_of_view_degrees": 90.0}
    torch.save(checkpoint, path)
    data = ["--data", "datamodules.manifest.datamodule.ManifestDataModule", "--data.root", str(tmp_path / "frames.csv")]
    data += ["--data.image_size", "[48, 64]", "--data.default_field_of_view_degrees", "40"]
    out = ["--kind", "depth", "--out", str(tmp_path / "depth.h5"), "--accelerator", "cpu"]
    assert main([*data, "--teacher", str(path), *out]) == 0
    store = LabelStore(tmp_path / "depth.h5")
    # 90 degrees over 64 pixels is a focal length of 32, half of the canonical one.
    np.testing.assert_allclose(store.read(store.names[0]), np.full((48, 64), 1.0), rtol=1e-5)
