"""Any altered or missing byte of a checkpoint is found, and torch reads it like any other."""

import shutil
import zipfile

import pytest
import torch

from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
from lightning_modules.runs.loading import CheckpointError
from lightning_modules.runs.sealed_file import SealingWriter, is_whole

CONTENT = {"state_dict": {"w": torch.arange(1000.0), "b": torch.ones(3)}, "global_step": 7}


@pytest.fixture
def path(tmp_path):
    AtomicCheckpointIO().save_checkpoint(CONTENT, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_and_zip_read_it_wherever_it_is_copied(path, mmap, tmp_path):
    copy = shutil.copy(path, tmp_path / "y.ckpt")
    assert is_whole(tmp_path / "y.ckpt")
    loaded = torch.load(copy, weights_only=True, mmap=mmap)
    assert torch.equal(loaded["state_dict"]["w"], CONTENT["state_dict"]["w"])
    with zipfile.ZipFile(copy) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"plumbline-sha256:")


def test_every_flipped_bit_is_found(path):
    content = path.read_bytes()
    for place in [*range(0, len(content), 211), *range(len(content) - 120, len(content))]:
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        path.write_bytes(altered)
        assert not is_whole(path), place


@pytest.mark.parametrize("kept", [0, 1, 100, -1, -82, -500])
def test_a_torn_file_is_found(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    assert not is_whole(path)


def test_zeros_and_foreign_bytes_are_found(path):
    size = path.stat().st_size
    for content in (bytes(size), b"x" * size, path.read_bytes() + b"more"):
        path.write_bytes(content)
        assert not is_whole(path)


def test_a_file_without_a_checksum_is_checked_by_its_parts(tmp_path):
    path = tmp_path / "earlier.ckpt"
    torch.save(CONTENT, path)
    assert is_whole(path)
    content = bytearray(path.read_bytes())
    place = bytes(content).index(CONTENT["state_dict"]["w"].numpy().tobytes()) + 100
    content[place] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["global_step"] == 7  # torch does not notice
    assert not is_whole(path)


def test_a_damaged_checkpoint_is_refused_in_one_sentence(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.ckpt' is damaged: its bytes do not match its checksum$"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=True)


@pytest.mark.parametrize("sizes", [[1] * 30, [0, 5, 1, 0, 100, 2], [50_000, 1, 1]])
def test_the_pieces_in_which_a_file_is_written_do_not_matter(tmp_path, sizes):
    data = bytes(range(256)) * 200
    with (tmp_path / "x").open("wb") as file:
        writer = SealingWriter(file)
        start = 0
        for size in [*sizes, len(data) - sum(sizes)]:
            assert writer.write(data[start : start + size]) == size
            start += size
        writer.seal()
    assert is_whole(tmp_path / "x")
