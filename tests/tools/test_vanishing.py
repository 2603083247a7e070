"""The command that stores vanishing directions, on drawn rooms listed in a manifest."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import tools.vanishing
from structures.label_store import LabelStore
from tests.data.make_manifest_data import write_rows
from tools.vanishing import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path):
    """Three training frames of upright rectangles, viewed frontally, and a textureless one."""
    rows = []
    for frame in range(4):
        image = np.full((96, 128, 3), 128, np.uint8)
        if frame < 3:
            for left in (8, 72):
                cv2.rectangle(image, (left, 8), (left + 48, 84), (20 * frame, 40, 30), -1)
        cv2.imwrite(str(tmp_path / f"{frame}.png"), image)
        cv2.imwrite(str(tmp_path / f"{frame}_depth.png"), np.full((96, 128), 2000, np.uint16))
        rows.append({"image": f"{frame}.png", "depth": f"{frame}_depth.png", "split": "train", "depth_scale": 1000})
        rows[-1] |= {"fx": 110, "fy": 110, "cx": 63.5, "cy": 47.5}
    cv2.imwrite(str(tmp_path / "test.png"), image)
    write_rows(tmp_path / "manifest.csv", [*rows, {**rows[0], "image": "test.png", "split": "test"}])
    yaml = str(ROOT / "experiments" / "data" / "manifest.yaml")
    return ["--data", yaml, "--data.init_args.root", str(tmp_path / "manifest.csv")]


def test_directions_are_stored_with_their_settings(data, tmp_path, capsys):
    out = tmp_path / "vanishing.h5"
    assert main([*data, "--out", str(out), "--settings.min_length", "0.3", "--settings.max_rival", "1"]) == 0
    printed = capsys.readouterr().out
    assert "directions of 3 of 4 frames, none in 1 (25.0 %); 4 new frames" in printed
    store = LabelStore(out, kind="vanishing")
    assert store.settings["min_length"] == 0.3
    assert len(store) == 4
    for name in store.names[:3]:
        np.testing.assert_allclose(np.abs(store.read(name)).max(axis=1), 1, atol=1e-3)
    assert not store.read(store.names[3]).any()


def test_an_interrupted_run_continues_and_a_finished_file_is_unchanged(data, tmp_path, capsys, monkeypatch):
    out = tmp_path / "vanishing.h5"
    seen = []

    def dying(image, K, settings):
        seen.append(image)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return np.eye(3)

    monkeypatch.setattr(tools.vanishing, "vanishing_directions", dying)
    with pytest.raises(KeyboardInterrupt):
        main([*data, "--out", str(out)])
    assert main([*data, "--out", str(out)]) == 0
    assert "2 new frames" in capsys.readouterr().out
    before = out.read_bytes()
    assert main([*data, "--out", str(out)]) == 0
    assert "0 new frames" in capsys.readouterr().out
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--settings.seed", "1"], 1, "was made with seed=2020, not seed=1"),
        (["--split", "tomorrow"], 2, "'tomorrow' is none of train, val, test"),
        (["--split", "train", "test"], 1, "is finished and lacks 'test'"),
        (["--data.init_args.root", "nowhere.csv"], 1, "nowhere.csv"),
    ],
)
def test_a_wrong_call_is_one_sentence(data, tmp_path, capsys, monkeypatch, arguments, code, message):
    monkeypatch.setattr(tools.vanishing, "vanishing_directions", lambda image, K, settings: None)
    out = tmp_path / "vanishing.h5"
    assert main([*data, "--out", str(out)]) == 0
    capsys.readouterr()
    assert main([*data, "--out", str(out), *arguments]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_an_output_that_cannot_be_written_is_named(data, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken").write_text("kept")
    for out, said in (
        ("folder", "is a folder, but a file is to be written"),
        ("taken/vanishing.h5", "is a file, but a folder is needed"),
        ("taken", "no label file; name another file"),
    ):
        assert main([*data, "--out", str(tmp_path / out)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert "Errno" not in line
    assert (tmp_path / "taken").read_text() == "kept"
