"""The Python interface as a user calls it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import hubconf
import plumbline
from tests.data.make_teachers import save_affine_checkpoint

ROOT = Path(__file__).parents[1]
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.filterwarnings("ignore:the image size of the training is unknown")
def test_the_lines_of_the_documentation(tmp_path):
    save_affine_checkpoint(tmp_path / "best.ckpt")
    model = plumbline.load(tmp_path / "best.ckpt", device="cpu")
    out = model.predict(PIXELS, field_of_view=60)
    assert out.depth_m.shape == (48, 64)
    assert out.points.shape[1] == 3
    assert (out.save(tmp_path / "folder") / "image_depth.png").is_file()
    again = plumbline.predict(tmp_path / "best.ckpt", PIXELS, device="cpu", field_of_view=60)
    np.testing.assert_array_equal(again.depth_m, out.depth_m)


@pytest.mark.filterwarnings("ignore:the image size of the training is unknown")
def test_torch_hub_loads_from_a_checkout(tmp_path):
    save_affine_checkpoint(tmp_path / "best.ckpt")
    model = torch.hub.load(str(ROOT), "plumbline", str(tmp_path / "best.ckpt"), device="cpu", source="local")
    assert model.predict(PIXELS, field_of_view=60).depth_m.min() > 0
    assert all(importlib.util.find_spec(name) for name in hubconf.dependencies)


def test_experiments_are_those_of_make_train():
    names = plumbline.list_experiments()
    assert {"lite_unet", "gam_depth", "render_consistency", "boxinst_depth"} <= set(names)
    assert not any(name.startswith("_") for name in names)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="there is no experiment 'lite_unett'; did you mean 'lite_unet'"):
        plumbline.fit("lite_unett")
    with pytest.raises(ValueError, match="there is no data 'roms'"):
        plumbline.fit("lite_unet", data="roms")
    with pytest.raises(ValueError, match="there is no experiment 'None'"):
        plumbline.fit(None)


def test_fit_refuses_a_device_before_the_training(monkeypatch):
    def train(words):
        raise AssertionError(f"the training began: {words}")

    monkeypatch.setattr(plumbline.prepare_inputs, "main", train)
    with pytest.raises(ValueError, match="device is 'gpu'"):
        plumbline.fit("lite_unet", device="gpu")


def test_none_is_null_on_the_command_line(monkeypatch):
    said = []
    monkeypatch.setattr(plumbline.prepare_inputs, "main", lambda words: said.extend(words) or 1)
    with pytest.raises(RuntimeError, match="label files"):
        plumbline.fit("lite_unet", device="cpu", trainer__max_epochs=None, trainer__max_steps=5)
    assert said[2:] == ["--trainer.max_epochs", "null", "--trainer.max_steps", "5"]


@pytest.mark.slow  # the notebook of the documentation calls it in the other tests
def test_fit_trains_in_a_run_folder_and_returns_the_best_network(tmp_path, rooms_root):
    overlay = ROOT / "tests" / "overlays" / "rooms.yaml"
    model = plumbline.fit(
        "lite_unet", root=rooms_root, max_steps=2, runs_dir=tmp_path / "mine", device="cpu", config=overlay
    )
    (run,) = (tmp_path / "mine" / "lite_unet").iterdir()
    assert model.source == str(run / "checkpoints" / "best.ckpt")
    assert (run / "run.json").is_file()
    assert model.predict(PIXELS, field_of_view=60).depth_m.shape == (48, 64)


def test_a_failed_training_is_one_sentence(tmp_path, rooms_root):
    with pytest.raises(RuntimeError, match="ended early"):
        plumbline.fit("lite_unet", root=rooms_root, max_steps=2, runs_dir=tmp_path, data__init_args__batch_size=0)
