"""Lists that are written element by element."""

import json

import pytest

from structures.json_list import JsonListWriter


def test_a_list_is_there_when_it_is_closed(tmp_path):
    path = tmp_path / "deep" / "list.json"
    writer = JsonListWriter(path)
    writer.extend([{"a": 1}])
    writer.extend([])
    writer.extend([{"b": "Ü"}, 3])
    assert not path.exists()
    writer.close()
    writer.close()
    assert json.loads(path.read_text(encoding="utf-8")) == [{"a": 1}, {"b": "Ü"}, 3]
    assert [file.name for file in path.parent.iterdir()] == ["list.json"]
    with pytest.raises(ValueError, match="is closed"):
        writer.extend([1])


def test_an_empty_list_replaces_what_was_there(tmp_path):
    (tmp_path / "list.json").write_text("[1, 2]")
    writer = JsonListWriter(tmp_path / "list.json")
    assert (tmp_path / "list.json").read_text() == "[1, 2]"
    writer.close()
    assert json.loads((tmp_path / "list.json").read_text()) == []
