"""Names out of data files stay in their folders."""

import pytest

from structures.contained_paths import input_path, leaves, output_path


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/etc/passwd", "..", "C:\\a", "C:/a", "\\a", "..\\a", "a\\..\\..\\b", "a\0b"]
)
def test_names_that_lead_out(name, tmp_path):
    assert leaves(name)
    with pytest.raises(ValueError, match=r"list.txt, line 3: the image .* is not below the folder .*: move it\.$"):
        input_path(tmp_path, name, where="list.txt, line 3", what="image", hint="move it")
    with pytest.raises(ValueError, match="would be written outside of the folder"):
        output_path(tmp_path, name)


@pytest.mark.parametrize("name", ["a", "a/b.png", "a/../b", "..a/b", "a..b", "./a", "c:a"])
def test_names_that_stay(name, tmp_path):
    assert not leaves(name)
    assert input_path(tmp_path, name, where="", what="", hint="") == tmp_path / name
    assert output_path(tmp_path, name) == tmp_path / name


def test_the_folder_itself_is_no_result(tmp_path):
    with pytest.raises(ValueError, match="outside"):
        output_path(tmp_path, ".")


def test_links_are_followed_for_reading_and_not_for_writing(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    assert input_path(folder, "link/x", where="", what="", hint="") == folder / "link" / "x"
    with pytest.raises(ValueError, match=r"the result of 'link/x' would be written outside of the folder .*results"):
        output_path(folder, "link/x")


def test_the_folder_of_the_results_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    assert output_path(tmp_path / "results", "a/b") == tmp_path / "results" / "a" / "b"
