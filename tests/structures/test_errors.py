"""What users read in place of error numbers and of tracebacks from loader processes."""

import errno
import json
import os

import h5py
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from structures.errors import comes_from_worker, plain_reason


class Unreadable(Dataset):
    """Raises the given kind of error for every sample, in the process that reads it."""

    def __init__(self, kind):
        self.kind = kind

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if self.kind == "ours":
            raise ValueError("photos/b.png is no image: two\nlines of 'text': here")
        if self.kind == "missing":
            return open("/nowhere/x.png", "rb")
        if self.kind == "json":
            json.loads("{")
        if self.kind == "key":
            return {}["depth"]
        os._exit(7)


def raised_in_worker(kind):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        list(DataLoader(Unreadable(kind), num_workers=1, batch_size=None))
    return caught.value


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ours", "photos/b.png is no image: two\nlines of 'text': here"),
        ("missing", "'/nowhere/x.png' does not exist, nor does its folder '/nowhere'"),
        ("json", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("key", "depth"),
    ],
)
def test_an_error_of_a_worker_is_what_it_was_there(kind, words):
    error = raised_in_worker(kind)
    assert "Original Traceback" in str(error)
    assert comes_from_worker(error)
    assert plain_reason(error) == words


def test_a_worker_that_dies_is_one_sentence():
    reason = plain_reason(raised_in_worker("dies"))
    assert "num_workers" in reason
    assert "\n" not in reason
    assert not comes_from_worker(RuntimeError("shapes do not fit"))


def reason_of(action):
    with pytest.raises(OSError) as caught:  # noqa: PT011
        action()
    assert str(caught.value) != plain_reason(caught.value)
    return plain_reason(caught.value)


def test_paths_that_cannot_be_used_are_named_without_numbers(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    needed = f"'{file}' is a file, but a folder is needed"
    assert reason_of(lambda: (file / "a" / "b").mkdir(parents=True)) == f"{needed} to hold 'a/b': choose another path"
    assert reason_of(lambda: (file / "a").read_bytes()) == f"{needed} to hold 'a': choose another path"
    assert reason_of(file.mkdir) == f"{needed}: choose another path"
    assert reason_of(tmp_path.read_bytes) == f"'{tmp_path}' is a folder, but a file is needed: choose another path"
    (tmp_path / "folder").mkdir()
    assert reason_of(lambda: file.replace(tmp_path / "folder")).startswith(f"'{tmp_path / 'folder'}' is a folder")
    assert reason_of(tmp_path.mkdir) == f"'{tmp_path}' exists already: choose another path"
    nowhere = tmp_path / "no" / "x"
    assert reason_of(nowhere.read_bytes) == f"'{nowhere}' does not exist, nor does its folder '{nowhere.parent}'"
    assert reason_of((tmp_path / "x").read_bytes) == f"'{tmp_path / 'x'}' does not exist"
    (tmp_path / "link").symlink_to("gone")
    assert reason_of(lambda: (tmp_path / "link" / "x").mkdir(parents=True)).startswith(
        f"'{tmp_path / 'link'}' is a link"
    )
    assert reason_of(lambda: h5py.File(tmp_path / "a.h5", "r")) == f"'{tmp_path / 'a.h5'}' does not exist"
    assert plain_reason(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    assert plain_reason(FileNotFoundError("there is no file")) == "there is no file"
    full = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    assert plain_reason(full) == "the disk of '/data/x' is full"
    assert plain_reason(PermissionError(errno.EACCES, "Permission denied", b"/data/x")).startswith("'/data/x' may not")


@pytest.mark.parametrize("name", [".", "x", "x/y"])
def test_every_number_becomes_words_without_advice_to_delete(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for number in errno.errorcode:
        words = plain_reason(OSError(number, os.strerror(number), name))
        assert f"'{name}'" in words
        assert "delete" not in words
        assert "Errno" not in words


def test_sentences_of_our_own_are_left_alone():
    assert plain_reason(FileNotFoundError("There is no x: make it.")) == "There is no x: make it."
    assert plain_reason(ValueError("a\nb")) == "a\nb"
    assert plain_reason(KeyError("depth")) == "depth"
    assert plain_reason(torch.OutOfMemoryError("CUDA out of memory")) == "CUDA out of memory"
