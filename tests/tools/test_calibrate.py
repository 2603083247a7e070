"""``tools.calibrate`` on tiny rooms with a tiny network."""

import pytest
import torch

from structures.calibration import Calibration
from tests.data.make_huggingface import make_depth_anything
from tests.data.make_rooms import write_rooms_yaml
from tests.data.make_teachers import save_depth_checkpoint
from tools.calibrate import main


@pytest.fixture
def call(tmp_path):
    """Arguments of a call, with the data set in a YAML file."""
    data = write_rooms_yaml(tmp_path / "data.yaml", tmp_path / "rooms", image_size=[64, 96])
    teacher = tmp_path / "teacher.ckpt"
    save_depth_checkpoint(teacher, depth_m=2.0)
    out = tmp_path / "found" / "calibration.yaml"
    out.parent.mkdir()
    common = ["--data", str(data), "--teacher", str(teacher), "--out", str(out), "--images", "3", "--pitch"]
    return lambda *more: main([*common, *more]), out


def test_the_calibration_file_is_accepted_by_predict_and_the_curve_is_drawn(call, capsys):
    run, out = call
    assert run() == 0
    calibration = Calibration.load(out)
    assert calibration.output == "depth"
    assert calibration.images == 3
    assert calibration.shift_interval[0] <= calibration.shift <= calibration.shift_interval[1]
    assert (out.parent / "calibration.shift.png").is_file()
    said = capsys.readouterr().out
    assert "zero slope along the rotation" in said
    assert "chosen, in medians" in said
    assert "least relative disagreement" in said


def test_a_metric_network_causes_a_warning_before_and_in_the_result(call, capsys):
    run, out = call
    assert run() == 0
    said = capsys.readouterr()
    assert "predicts metric depth, which has no unknown shift" in said.err
    shift = Calibration.load(out).shift
    assert f"warning: this network predicts metres, and the calibration adds {shift:+.3g} m to the depth" in said.out


def test_a_network_with_unknown_scale_and_shift_causes_no_warning(call, tmp_path, capsys):
    run, _ = call
    checkpoint = torch.load(tmp_path / "teacher.ckpt", weights_only=True)
    checkpoint["plumbline"]["model"]["loss_weights"] = {"ssi": 1.0}
    torch.save(checkpoint, tmp_path / "teacher.ckpt")
    assert run() == 0
    said = capsys.readouterr()
    assert "metric depth" not in said.err
    assert "predicts metres" not in said.out


def test_only_a_calibration_is_replaced_with_a_note(call, capsys):
    run, out = call
    out.write_text("notes: mine\n")
    assert run() == 1
    assert "exists and is no calibration, so it is not replaced" in capsys.readouterr().err
    assert out.read_text() == "notes: mine\n"
    out.unlink()
    assert run() == 0
    assert "is replaced" not in capsys.readouterr().err
    assert run() == 0
    assert f"note: the calibration of 'tiny_depth' in '{out}' is replaced" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_named(call, capsys):
    run, out = call
    out.mkdir()
    assert run() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: '{out}' is a folder, but a file is to be written")
    out.rmdir()
    out.parent.rmdir()
    out.parent.write_text("kept")
    assert run() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: '{out.parent}' is a file, but a folder is needed")
    assert out.parent.read_text() == "kept"


def test_the_field_of_view_is_estimated_on_request(call):
    run, out = call
    assert run("--find", "focal", "--shift", "0.0") == 0
    calibration = Calibration.load(out)
    assert calibration.shift == 0.0
    assert 40 <= calibration.field_of_view_degrees <= 90
    assert (out.parent / "calibration.focal.png").is_file()


def test_scenes_can_be_rotated_and_rendered_instead(call):
    run, out = call
    assert run("--about", "scene", "--images", "2") == 0
    assert Calibration.load(out).images == 2


def test_a_network_of_disparity_gets_a_shift_of_disparity(call, tmp_path):
    pytest.importorskip("transformers")
    run, out = call
    teacher = tmp_path / "depth_anything"
    make_depth_anything(teacher)
    assert run("--teacher", str(teacher)) == 0
    assert Calibration.load(out).output == "disparity"


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--images", "1"], 1, "at least 2"),
        (["--find", "focal"], 1, "needs the shift"),
        (["--find", "both", "--about", "scene"], 1, "leave out --about scene"),
        (["--yaw", "60"], 1, "angles are inside (0, 45) degrees"),
        (["--teacher", "missing.ckpt"], 1, "missing.ckpt"),
        (["--find", "nothing"], 2, "find"),
        (["--data", "missing.yaml"], 2, "'missing.yaml' does not exist"),
    ],
)
def test_wrong_calls_end_in_one_line(call, capsys, more, code, said):
    run, out = call
    assert run() == 0  # makes the rooms, which would print a line of its own
    out.unlink()
    capsys.readouterr()
    assert run(*more) == code
    error = capsys.readouterr().err
    assert said in error
    assert code == 2 or len(error.strip().splitlines()) == 1
    assert not out.exists()
