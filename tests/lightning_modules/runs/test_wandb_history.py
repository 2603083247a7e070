"""What earlier attempts logged, for the W&B run that goes on."""

import cv2
import numpy as np

from lightning_modules.runs.wandb_history import history, offline_folders, set_aside, was_online


def test_history_is_numbers_then_pictures_from_the_first_step_on(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss\r\n0,0,1.5\r\n0,3,\r\n1,4,0.25\r\n")
    images = tmp_path / "wandb" / "offline-run-1-x" / "files" / "media" / "images" / "val"
    images.mkdir(parents=True)
    for step in (0, 3, 9):
        cv2.imwrite(str(images / f"pictures_{step}_{'0a' * 10}.png"), np.zeros((2, 2, 3), np.uint8))
    (images / "notes.png").touch()
    found = list(history(tmp_path, first=3))
    assert [(step, sorted(row)) for step, row in found] == [
        (3, ["epoch"]),
        (3, ["val/pictures"]),
        (4, ["epoch", "train/loss"]),
    ]
    assert found[2][1] == {"epoch": 1, "train/loss": 0.25}


def test_without_a_file_there_is_no_history(tmp_path):
    assert list(history(tmp_path, first=0)) == []
    assert offline_folders(tmp_path) == []
    assert not was_online(tmp_path)


def test_folders_that_were_replaced_are_found_no_more(tmp_path):
    for name in ("offline-run-2-x", "offline-run-1-x", "run-3-x"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    folders = offline_folders(tmp_path)
    assert [folder.name for folder in folders] == ["offline-run-1-x", "offline-run-2-x"]
    assert was_online(tmp_path)
    set_aside(folders)
    assert offline_folders(tmp_path) == []
    assert (tmp_path / "wandb" / "replaced-offline-run-1-x").is_dir()
