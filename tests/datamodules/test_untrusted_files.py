"""Data of a stranger cannot show other files, write elsewhere or fill the memory: each case is one sentence."""

import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.depth_list import read_pairs
from datamodules.files.arrays import read_npy
from datamodules.files.reading import read_rgb
from datamodules.image_sequences.sc_depth_layout import ScDepthDataModule
from datamodules.manifest.rows import read_manifest
from datamodules.manifest.source import read_mask
from datamodules.nyuv2.raw import read_list
from datamodules.rooms.make_store import build_store
from datamodules.rooms.settings import RoomsSettings
from lightning_modules.callbacks.prediction_writer import DepthPredictionWriter
from lightning_modules.runs.loading import CheckpointError, read_checkpoint
from networks.weights import read_state_dict


@pytest.fixture
def data(tmp_path):
    """A folder with a manifest's files, beside a file that is no part of it."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in (folder / "a.png", tmp_path / "private.png"):
        Image.fromarray(np.ones((4, 6, 3), np.uint8)).save(path)
    Image.fromarray(np.full((4, 6), 1000, np.uint16)).save(folder / "d.png")
    return folder


def manifest(folder, image, *, name=None):
    path = folder / "m.csv"
    path.write_text("image,depth,depth_scale" + (",name" if name else "") + f"\n{image},d.png,1000")
    if name:
        path.write_text(path.read_text() + f",{name}")
    return path


@pytest.mark.parametrize("kind", ["relative", "absolute"])
def test_a_manifest_reads_below_its_folder(data, kind):
    outside = data.parent / "private.png"
    path = manifest(data, "../private.png" if kind == "relative" else outside)
    with pytest.raises(ValueError, match=r"m.csv, line 2: the file '.*private.png' is not below the folder .*data, so"):
        read_manifest(path)
    (row,) = read_manifest(path, files_root=data.parent)
    assert row.image.resolve() == outside.resolve()


def test_links_below_the_folder_of_a_manifest_are_followed(data):
    (data / "link.png").symlink_to(data.parent / "private.png")
    (row,) = read_manifest(manifest(data, "link.png"))
    assert row.image == data / "link.png"


def test_a_name_in_a_manifest_stays_in_the_folder_of_the_results(data):
    with pytest.raises(ValueError, match=r"line 2: the name 'x/../../../y' leads out of the folder of the results"):
        read_manifest(manifest(data, "a.png", name="x/../../../y"))


def test_a_list_of_test_images_reads_below_its_root(data):
    (data / "test.txt").write_text("../private.png d.png\n")
    with pytest.raises(ValueError, match=r"test.txt, line 1: the path '../private.png' is not below the folder .*data"):
        read_pairs(data / "test.txt", data, "pairs")


def test_a_list_of_raw_frames_reads_below_its_root(tmp_path):
    (tmp_path / "train.txt").write_text(" ".join(["/private.png"] * 9))
    with pytest.raises(ValueError, match=r"train.txt, line 1: the frame '/private.png' is not below the folder"):
        read_list(tmp_path / "train.txt")


def test_a_list_of_scenes_reads_below_its_folder(tmp_path):
    training = tmp_path / "data" / "Training"
    training.mkdir(parents=True)
    (training / "train.txt").write_text("../../private\n")
    with pytest.raises(ValueError, match=r"Training: the scene '../../private' is not below the folder"):
        ScDepthDataModule(str(tmp_path / "data"), batch_size=1).make_source("train")


@pytest.mark.parametrize("name", ["../../x", "/tmp/x"])
def test_predictions_are_written_into_their_folder(tmp_path, name):
    writer = DepthPredictionWriter(str(tmp_path / "out"), panel=False)
    batch = {"name": [name], "image": torch.zeros(1, 3, 4, 6)}
    with pytest.raises(ValueError, match=rf"the result of '{name}' would be written outside of the folder .*out"):
        writer.write_on_batch_end(None, None, torch.ones(1, 1, 4, 6), None, batch, 0, 0)
    assert not list(tmp_path.rglob("*.png"))


def test_an_image_must_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.files.reading.MAX_MEGAPIXELS", 1e-5)
    Image.fromarray(np.ones((4, 6), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match="it has 6x4 pixels"):
        read_rgb(tmp_path / "x.png", upright=True)
    with pytest.raises(ValueError, match=r"m.csv: the mask .* cannot be read .*it has 6x4 pixels"):
        read_mask(tmp_path / "x.png", (4, 6), "m.csv")


def test_formats_that_start_other_programs_are_not_read(tmp_path):
    Image.fromarray(np.ones((4, 6, 3), np.uint8)).save(tmp_path / "x.png", format="EPS")
    with pytest.raises(ValueError, match="it is of no known format"):
        read_rgb(tmp_path / "x.png", upright=True)


def npy(path, shape):
    """A file of an array whose header declares more than it holds."""
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + b"\0" * 64)
    return path


def test_an_array_must_not_declare_more_than_it_holds(tmp_path):
    with pytest.raises(ValueError, match="length is greater than file size"):
        read_npy(npy(tmp_path / "x.npy", (10**6, 10**6)))


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"pickle|objects"):
        read_npy(tmp_path / "x.npy")


def test_an_archive_is_no_array(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    with pytest.raises(ValueError, match="it is a NumPy archive"):
        read_npy(tmp_path / "x.npy")


def test_a_checkpoint_must_not_unpack_to_more_than_it_holds(tmp_path):
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(2**20)}}, tmp_path / "whole")
    with zipfile.ZipFile(tmp_path / "whole") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(CheckpointError, match=r"x.ckpt' has 0.0 MB, but declares 4.2 MB, so it is not read"):
        read_checkpoint(path)
    with pytest.raises(ValueError, match=r"declares 4.2 MB"):
        read_state_dict(path)
    assert set(read_state_dict_of(tmp_path)) == {"a"}


def read_state_dict_of(folder):
    """The same tensors, stored as PyTorch does."""
    torch.save({"a": torch.zeros(2**20)}, folder / "plain")
    return read_state_dict(folder / "plain")


def test_a_renderer_is_no_other_function(tmp_path):
    with pytest.raises(ValueError, match=r"^'os.system' is not in lightning_modules, datamodules, networks"):
        build_store(RoomsSettings(), tmp_path, renderer="os:system")
