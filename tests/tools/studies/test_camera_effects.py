"""The study of a camera's effects: its report of a video with known effects, and wrong calls."""

import re

import cv2
import numpy as np
import pytest
from PIL import Image

from datamodules.samples.camera import to_display
from tools.studies.camera_effects import jpeg_quality, main

STEP = 0.1
"""Stops by which every frame is brighter or darker than the one before it."""


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Eight frames of a moving surface with square marks, alternately brighter and darker, as JPEG."""
    folder = tmp_path_factory.mktemp("video")
    generator = np.random.default_rng(0)
    coarse = cv2.GaussianBlur(generator.standard_normal((200, 280)).astype(np.float32), (0, 0), 8)
    light = (0.3 + 0.1 * coarse / coarse.std()).clip(0.05, 0.6)
    for y, x in generator.integers(10, 180, (40, 2)):
        light[y : y + 8, x : x + 8] = 0.02
    for k in range(8):
        frame = light[k : k + 160, 3 * k : 3 * k + 220] * 2 ** (STEP / 2 * (-1) ** k)
        frame = frame + 0.01 * generator.standard_normal(frame.shape)
        image = np.repeat((to_display(frame) * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2)
        Image.fromarray(image).save(folder / f"{k}.jpg", quality=85, subsampling=0)
    return folder


def test_the_report_has_what_the_video_was_made_with(video, capsys):
    assert main([str(video)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("8 frames of 220x160\n")
    exposure = float(re.search(r"exposure: root mean square change, in stops: (\d\.\d+) over 1", printed)[1])
    balance = float(re.search(r"white balance: root mean square change, in stops: (\d\.\d+) over 1", printed)[1])
    assert abs(exposure - STEP) < 0.01
    assert balance < 0.003
    assert float(re.search(r"motion: median (\d\.\d+) px", printed)[1]) == pytest.approx(10**0.5, abs=0.1)
    assert "JPEG: quality 85, colours 4:4:4" in printed
    assert printed.count("standard deviation 0.0") >= 3  # a line for each level of intensity
    capsys.readouterr()
    assert main([str(video), "--limit", "4"]) == 0
    assert capsys.readouterr().out.startswith("4 frames")


@pytest.mark.parametrize(("quality", "subsampling", "name"), [(92, 2, "4:2:0"), (75, 1, "4:2:2"), (30, 0, "4:4:4")])
def test_the_quality_is_read_from_the_tables_of_the_file(tmp_path, quality, subsampling, name):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8))
    image.save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling)
    assert jpeg_quality(tmp_path / "a.jpg") == (quality, name)
    image.convert("L").save(tmp_path / "grey.jpg", quality=quality)
    assert jpeg_quality(tmp_path / "grey.jpg") == (quality, "none")
    image.save(tmp_path / "a.png")
    assert jpeg_quality(tmp_path / "a.png") is None


def test_wrong_calls_are_one_sentence(video, tmp_path, capsys):
    assert main([]) == 2
    assert main([str(video), "--limit", "2"]) == 1
    assert "--limit is 2, but at least 3 frames are needed" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 1
    assert "0 frames were found, but at least 3 are needed" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    for k, size in enumerate([(64, 48), (64, 48), (32, 48)]):
        Image.new("RGB", size).save(tmp_path / f"{k}.png")
    assert main([str(tmp_path)]) == 1
    assert "2.png has another size than the frame before it" in capsys.readouterr().err
    (tmp_path / "2.png").write_text("no image")
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
