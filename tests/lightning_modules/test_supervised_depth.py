"""The supervised module learns: it overfits one batch of rooms, with every callback that the README offers."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.data import default_collate

from cli import main
from datamodules.rooms.datamodule import RoomsDataModule
from datamodules.rooms.settings import RoomsSettings
from lightning_modules.runs.loading import load_module
from lightning_modules.supervised_depth import SupervisedDepth
from networks.unet import UNetDepth

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / "tests" / "overlays" / "rooms.yaml"


@pytest.mark.parametrize("canonical_focal_px", [None, 60.0])
def test_one_batch_of_rooms_is_overfitted(rooms_root, canonical_focal_px):
    settings = RoomsSettings(**yaml.safe_load(OVERLAY.read_text())["data"]["init_args"]["settings"])
    data = RoomsDataModule(root=str(rooms_root), settings=settings, image_size=(64, 64), processes=0)
    data.prepare_data()
    data.setup("fit")
    batch = default_collate([data.datasets["train"][i] for i in (0, 3)])
    network = UNetDepth("resnet18", encoder_weights=None, decoder_widths=(32, 32, 16, 16))
    module = SupervisedDepth(network, loss_weights={"l1": 1.0}, canonical_focal_px=canonical_focal_px)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = module.loss_terms(batch)["l1"]
        loss.backward()
        optimizer.step()
    depth = batch["depth"][batch["depth_mask"]] / 10
    constant = (depth - depth.median()).abs().mean()
    assert loss < 0.2 * constant


def test_averaged_weights_and_early_stopping_work_from_the_command_line(rooms_root, tmp_path):
    (tmp_path / "extra.yaml").write_text(
        "trainer:\n"
        "  callbacks+:\n"
        "    - class_path: lightning.pytorch.callbacks.EMAWeightAveraging\n"
        "      init_args: {decay: 0.5}\n"
        "    - class_path: lightning.pytorch.callbacks.EarlyStopping\n"
        "      init_args: {monitor: val/score, patience: 1, min_delta: 100.0}\n"
    )
    main(
        [
            *("fit", "--config", str(ROOT / "experiments" / "fcn_ssim.yaml")),
            *("--config", str(OVERLAY), "--config", str(tmp_path / "extra.yaml")),
            *("--data.init_args.root", str(rooms_root), "--trainer.max_steps", "40"),
        ]
    )
    (run_dir,) = tmp_path.glob("runs/fcn_ssim/*")
    assert json.loads((run_dir / "run.json").read_text())["steps"] == 4, "no gain of 100 in one more validation"
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    raw = checkpoint["current_model_state"]
    assert any(not torch.equal(raw[key], value) for key, value in checkpoint["state_dict"].items())
    weights = load_module(run_dir / "checkpoints" / "last.ckpt").state_dict()
    for key, value in checkpoint["state_dict"].items():
        torch.testing.assert_close(weights[key], value)
