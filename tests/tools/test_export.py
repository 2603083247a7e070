import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.make_teachers import save_affine_checkpoint
from tools.export import main
from tools.predict import main as predict


@pytest.fixture
def checkpoint(tmp_path):
    save_affine_checkpoint(tmp_path / "affine.ckpt")
    return tmp_path / "affine.ckpt"


def run(checkpoint, output, format_):
    return main(["--checkpoint", str(checkpoint), "--output", str(output), "--format", format_])


def test_predict_takes_what_export_writes(tmp_path, checkpoint, capsys):
    assert run(checkpoint, tmp_path / "net.ts", "torchscript") == 0
    assert "any batch and size, largest difference to PyTorch" in capsys.readouterr().out
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    depths = []
    for source in (checkpoint, tmp_path / "net.ts"):
        out = tmp_path / source.stem
        words = ["--checkpoint", str(source), "--input", str(tmp_path / "photo.png"), "--output", str(out)]
        assert predict([*words, "--field-of-view", "60", "--no-panel"]) == 0
        depths.append(cv2.imread(str(out / "photo_depth.png"), cv2.IMREAD_UNCHANGED).astype(int))
    assert abs(depths[0] - depths[1]).max() <= 1
    assert len(np.unique(depths[0])) > 100


def test_bad_calls_are_one_sentence(tmp_path, checkpoint, capsys, monkeypatch):
    for output, format_, said in [
        ("net.onnx", "keras", "the format is 'keras', but must be one of onnx, torchscript, pt2"),
        ("net.pt", "torchscript", "a file of torchscript ends in .ts"),
    ]:
        assert run(checkpoint, tmp_path / output, format_) == 1
        assert said in capsys.readouterr().err
    assert run(tmp_path / "gone.ckpt", tmp_path / "net.ts", "torchscript") == 1
    assert "does not exist" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run(checkpoint, tmp_path / "net.onnx", "onnx") == 1
    assert "ONNX needs onnxruntime, which is not installed: pip install 'plumbline[export]'" in capsys.readouterr().err
    assert not list(tmp_path.glob("net*"))
