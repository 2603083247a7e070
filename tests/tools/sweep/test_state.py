"""The id of a sweep in a folder of runs."""

from dataclasses import replace

from tools.sweep.definition import SWEEPS, read_sweep
from tools.sweep.state import Known, read_state, state_path, write_state

SWEEP = read_sweep(SWEEPS / "gam_depth.yaml")


def test_the_same_grid_in_the_same_project_goes_on(tmp_path):
    assert read_state(tmp_path, SWEEP, "team/x") is None
    known = Known("abc", "team/x")
    write_state(tmp_path, SWEEP, known)
    assert read_state(tmp_path, SWEEP, "team/x") == known
    assert known.path == "team/x/abc"
    assert read_state(tmp_path, SWEEP, "team/y") is None
    changed = replace(SWEEP, settings=SWEEP.settings | {"parameters": {}})
    assert read_state(tmp_path, changed, "team/x") is None


def test_a_damaged_file_is_named_and_replaced(tmp_path, capsys):
    path = state_path(tmp_path, SWEEP.name)
    path.parent.mkdir()
    for content in ("{", "[]", '{"sweep": 1}'):
        path.write_text(content)
        assert read_state(tmp_path, SWEEP, "team/x") is None
        assert capsys.readouterr().err == f"{path} is damaged, so a new sweep is created\n"
