"""Tests that need a GPU; ``make test-all`` runs them where there is one."""

import json
from pathlib import Path

import pytest
import torch

from cli import main

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_experiment_trains_and_tests_on_the_gpu(rooms_root, tmp_path, precision):
    overlay = ROOT / "tests" / "overlays" / "rooms.yaml"
    arguments = ["--config", str(ROOT / "experiments" / "lite_unet.yaml"), "--config", str(overlay)]
    arguments += ["--data.init_args.root", str(rooms_root), "--trainer.accelerator", "gpu", "--trainer.devices", "1"]
    main(["fit", *arguments, "--trainer.precision", precision])
    (record,) = tmp_path.glob("runs/lite_unet/*/run.json")
    record = json.loads(record.read_text())
    assert record["device"].startswith("cuda")
    assert record["test"]["test/score"] > 0


def test_a_training_step_equals_that_of_the_cpu():
    from networks.unet import UNetDepth

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    network = UNetDepth("resnet18", encoder_weights=None, decoder_widths=(32, 32, 16, 16)).eval()
    image = torch.rand(2, 3, 64, 64)
    expected = network(image)
    torch.testing.assert_close(network.cuda()(image.cuda()).cpu(), expected, rtol=1e-3, atol=1e-4)
