"""`make data` reads the frames of training; each kind of broken file is counted and named, and the exit code is 1."""

import cv2
import numpy as np
import pytest

from tests.data.make_coco import make_coco
from tests.data.make_frames_video import make_frames_video
from tests.data.make_manifest_data import make_manifest_data, true_depth_mm
from tools.make_data import main

MANIFEST = [
    "--data=datamodules.manifest.datamodule.ManifestDataModule",
    "--data.batch_size=2",
    "--data.image_size=[24,32]",
]


def run(capsys, *arguments):
    code = main([*arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_intact_data_are_read_completely(tmp_path, capsys):
    path = make_manifest_data(tmp_path)
    code, out, err = run(capsys, *MANIFEST, f"--data.root={path}")
    assert code == 0
    assert "5 train, 3 val, 3 test samples, 8 frames read, ready" in out
    depths = np.concatenate([true_depth_mm(k)[1:].ravel() for k in range(8)]) / 1000
    assert "depth: measured in 8 of 8 frames" in err
    assert float(err.split("median ")[1].split(" ")[0]) == pytest.approx(np.median(depths), rel=0.05)


def tear(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_depth(path):
    np.save(path.with_suffix(".npy"), np.full((24, 32), np.nan))


BROKEN = {
    "torn image": (lambda root: tear(root / "color" / "001.png"), "color/001.png"),
    "torn depth": (lambda root: tear(root / "depth" / "001.png"), "depth/001.png"),
    "depth of zeros": (
        lambda root: cv2.imwrite(str(root / "depth" / "001.png"), np.zeros((24, 32), np.uint16)),
        "the depth is 0 (unknown) in every pixel",
    ),
    "no picture": (lambda root: (root / "color" / "001.png").write_text("x"), "color/001.png"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_and_the_rest_read(tmp_path, capsys, case):
    spoil, message = BROKEN[case]
    path = make_manifest_data(tmp_path)
    spoil(tmp_path)
    code, out, err = run(capsys, *MANIFEST, f"--data.root={path}")
    assert code == 1
    assert "7 frames read, 1 broken" in out
    (line,) = [line for line in err.splitlines() if line.startswith("broken: ")]
    assert message in line
    assert "line 3" in line


def test_nan_depth_is_broken_too(tmp_path, capsys):
    path = make_manifest_data(tmp_path)
    np.save(tmp_path / "depth" / "nan.npy", np.full((24, 32), np.nan))
    path.write_text(path.read_text().replace("depth/006.png", "depth/nan.npy"))
    code, out, err = run(capsys, *MANIFEST, f"--data.root={path}")
    assert (code, "1 broken" in out) == (1, True)
    assert "broken: test frame 1: " in err
    assert "768 NaN or infinite pixels" in err


def test_only_the_first_ten_are_named(tmp_path, capsys):
    path = make_manifest_data(tmp_path, train=11, test=3)
    for file in (tmp_path / "color").iterdir():
        tear(file)
    code, out, err = run(capsys, *MANIFEST, f"--data.root={path}")
    assert code == 1
    assert "14 broken" in out
    assert err.count("broken: train") == 10
    assert "broken: and 4 more" in err


@pytest.mark.parametrize(("units", "said"), [(1, "1000 times as many give"), (1_000_000, "1000 times fewer give")])
def test_depth_in_another_unit_is_an_error(tmp_path, capsys, units, said):
    path = make_manifest_data(tmp_path)
    path.write_text(path.read_text().replace(",1000,", f",{units},"))
    code, out, err = run(capsys, *MANIFEST, f"--data.root={path}")
    assert code == 1
    assert "not usable" in out
    assert "error: the median of the measured depth is" in err
    assert said in err


def test_saturated_depth_is_counted(tmp_path, capsys):
    path = make_manifest_data(tmp_path)
    for frame in range(8):
        depth = true_depth_mm(frame)
        depth[:, :8] = 65535
        cv2.imwrite(str(tmp_path / "depth" / f"{frame:03d}.png"), depth)
    code, _, err = run(capsys, *MANIFEST, f"--data.root={path}")
    assert code == 0
    assert f"{path}: {8 * 24 * 8} pixels hold the largest value" in err


def test_normalised_intrinsics_are_one_sentence(tmp_path, capsys):
    path = make_manifest_data(tmp_path)
    path.write_text(path.read_text().replace("30.0,31.0,15.5,11.5", "0.58,1.92,0.5,0.5"))
    code, out, err = run(capsys, *MANIFEST, f"--data.root={path}")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "normalised by the image size" in err


def test_a_sample_is_read_where_a_limit_is_given(tmp_path, capsys):
    path = make_manifest_data(tmp_path)
    tear(tmp_path / "color" / "001.png")
    code, out, _ = run(capsys, *MANIFEST, f"--data.root={path}", "--limit", "2")
    assert code == 0
    assert "4 frames read" in out
    assert main([*MANIFEST, f"--data.root={path}", "--limit", "-1"]) == 2


def test_frames_of_clips_are_each_read_once(tmp_path, capsys):
    folder = make_frames_video(tmp_path / "video", frames=30, depth=tmp_path / "depth")
    data = [
        "--data=datamodules.image_sequences.frames_video.FramesVideoDataModule",
        f"--data.root={folder}",
        "--data.batch_size=2",
    ]
    data += [f"--data.depth_root={tmp_path / 'depth'}", "--data.evaluation=frames", "--data.min_flow=null"]
    data += ["--data.max_flow=null"]
    code, out, _ = run(capsys, *data)
    assert code == 0
    assert "30 frames read, ready" in out
    tear(folder / "frame_7.png")
    code, out, err = run(capsys, *data)
    assert code == 1
    assert "29 frames read, 1 broken" in out
    assert "frame_7.png" in err


def test_images_with_instances_are_read(tmp_path, capsys):
    make_coco(tmp_path)
    data = ["--data=datamodules.coco.datamodule.CocoDataModule", f"--data.root={tmp_path}", "--data.batch_size=1"]
    code, out, _ = run(capsys, *data)
    assert (code, "ready" in out) == (0, True)
    tear(sorted((tmp_path / "train2017").iterdir())[0])
    code, out, err = run(capsys, *data)
    assert (code, "1 broken" in out) == (1, True)
    assert "broken: train image " in err


def test_frames_of_another_unit_than_the_rest_are_named(tmp_path, capsys):
    path = make_manifest_data(tmp_path)
    np.save(tmp_path / "depth" / "metres.npy", (true_depth_mm(2) / 1000).astype(np.float32))
    path.write_text(path.read_text().replace("depth/002.png", "depth/metres.npy"))
    code, _, err = run(capsys, *MANIFEST, f"--data.root={path}")
    (line,) = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert code == 0
    assert line.startswith("warning: 1 frame has a median depth 100 times smaller or larger")
    assert "002 (0.00" in line
