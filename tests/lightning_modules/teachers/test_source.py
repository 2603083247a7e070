"""Which kind of teacher a text names, and what is said about files of other kinds."""

import cv2
import numpy as np
import pytest
import torch

from lightning_modules.teachers.source import source_kind
from lightning_modules.teachers.teacher import Teacher
from tests.data.make_teachers import save_depth_checkpoint
from tests.networks.test_torchscript import Red, save

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")


def test_every_accepted_kind_is_told_from_the_others(tmp_path):
    save_depth_checkpoint(tmp_path / "ours.ckpt", depth_m=2.0)
    (tmp_path / "renamed.pt").write_bytes((tmp_path / "ours.ckpt").read_bytes())
    for name in ("red.ts", "red.pt", "red.torchscript", "red"):
        save(tmp_path / name, Red())
        assert source_kind(str(tmp_path / name)) == "torchscript"
    (tmp_path / "maps" / "deep").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "maps" / "deep" / "a.PNG"), np.ones((2, 2), np.uint16))
    assert source_kind(str(tmp_path / "maps")) == "maps"
    (tmp_path / "maps" / "config.json").write_text("{}")
    assert source_kind(str(tmp_path / "maps")) == "huggingface"
    assert source_kind("depth-anything/Depth-Anything-V2-Small-hf") == "huggingface"
    assert source_kind("Intel/dpt-large.v2") == "huggingface"
    for name in ("ours.ckpt", "renamed.pt", "missing.ckpt"):
        assert source_kind(str(tmp_path / name)) == "checkpoint"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("net.onnx", "is an ONNX file"),
        ("net.safetensors", r"weights without a network \(safetensors\)"),
        ("net.h5", "is an HDF5 file"),
        ("net.pt2", "torch.export"),
        ("weights.pth", r"holds weights alone \(a state dict\)"),
        ("pickle.pkl", "neither a TorchScript file nor a checkpoint"),
        ("torn.ts", "is no TorchScript file, or it is damaged"),
        ("torn.pt", "neither a TorchScript file nor a checkpoint"),
        ("notes.txt", "neither a TorchScript file nor a checkpoint"),
    ],
)
def test_files_of_other_kinds_are_named_with_what_is_accepted(tmp_path, name, said):
    path = tmp_path / name
    path.write_bytes(b"anything")
    if name.startswith("torn"):
        path.write_bytes(save(tmp_path / "whole.ts", Red()).read_bytes()[:900])
    if name == "weights.pth":
        torch.save(Red().state_dict(), path)
    with pytest.raises(ValueError, match=said) as caught:
        Teacher(str(path), kind="depth", unit=1.0)
    assert "a TorchScript file (.ts, .pt, .torchscript), a folder or the id of a Hugging Face model" in str(
        caught.value
    )
    assert str(path) in str(caught.value)


class Danger:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_of_weights_is_never_run(tmp_path):
    torch.save(Danger(tmp_path / "ran"), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="neither a TorchScript file nor a checkpoint"):
        source_kind(str(tmp_path / "weights.pt"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["none.ts", "none.onnx", "none.pt", "./none", "/none/at/all"])
def test_missing_files_are_said_to_be_missing(name):
    with pytest.raises(FileNotFoundError, match=rf"there is no teacher '{name}': a teacher is a checkpoint"):
        source_kind(name)


def test_a_torchscript_teacher_gives_depth_at_the_batchs_size(tmp_path):
    path = str(save(tmp_path / "red.ts", Red(), (4, 6)))
    teacher = Teacher(path, kind="depth", unit=1000.0, input_size=(4, 6), std=(0.5, 0.5, 0.5))
    image = torch.full((2, 3, 8, 12), 0.75)
    torch.testing.assert_close(teacher.predict_step({"image": image}, 0), torch.full((2, 1, 8, 12), 0.003))
    assert not teacher.relative
    assert teacher.title.startswith("red.ts ")
    assert teacher.settings == {"unit": 1000.0, "input_size": [4, 6], "std": [0.5, 0.5, 0.5], "inverse": False}
    assert Teacher(path, kind="depth", unit="relative", inverse=True).relative


def test_arguments_that_do_not_belong_to_a_teacher_are_refused(tmp_path):
    path = str(save(tmp_path / "red.ts", Red()))
    save_depth_checkpoint(tmp_path / "ours.ckpt", depth_m=2.0)
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "a.npy", np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"the unit of what '.*red.ts' gives is not known: --unit 1"):
        Teacher(path, kind="depth")
    with pytest.raises(ValueError, match="can be a teacher of kind 'depth' alone"):
        Teacher(path, unit=1.0)
    with pytest.raises(ValueError, match="so there is nothing that --unit and --mean could change: leave them out"):
        Teacher(str(tmp_path / "ours.ckpt"), kind="depth", unit=1.0, mean=(0, 0, 0))
    with pytest.raises(ValueError, match="depth maps, not a network"):
        Teacher(str(tmp_path / "maps"), kind="depth")


def test_a_folder_of_neither_kind_is_said_to_be_one(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is a folder without a config.json and without .png or .npy: a teacher is"):
        source_kind(str(tmp_path))
