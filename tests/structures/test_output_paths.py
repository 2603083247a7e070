"""Sentences about paths that cannot be written to."""

import pytest

from structures.files import write_atomically
from structures.output_paths import check_output_file, check_output_folder, make_folder


def test_missing_folders_are_made(tmp_path):
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert check_output_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert check_output_file(tmp_path / "c" / "d" / "file.h5").parent.is_dir()
    assert not (tmp_path / "c" / "d" / "file.h5").exists()


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "taken").write_text("kept")
    for path in (tmp_path / "taken", tmp_path / "taken" / "deep" / "folder"):
        with pytest.raises(NotADirectoryError) as caught:
            check_output_folder(path)
        assert str(caught.value).startswith(f"'{tmp_path / 'taken'}' is a file, but a folder is needed")
    with pytest.raises(NotADirectoryError, match="taken' is a file, but a folder is needed"):
        write_atomically(tmp_path / "taken" / "x.png", [b"x"])
    assert (tmp_path / "taken").read_text() == "kept"


def test_a_folder_in_the_way_and_links_to_nothing_are_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError, match="folder' is a folder, but a file is to be written"):
        write_atomically(tmp_path / "folder", [b"x"])
    with pytest.raises(FileNotFoundError, match="link' is a link to nothing"):
        check_output_file(tmp_path / "link")
    with pytest.raises(NotADirectoryError, match="link' is a link to nothing, but a folder is needed"):
        make_folder(tmp_path / "link" / "deeper")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link"]
