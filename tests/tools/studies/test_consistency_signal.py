import math

import pytest
import torch

from geometry.camera import intrinsics_from_field_of_view, pixel_grid
from lightning_modules.render_consistency.calibration_views import opposite_turns
from tests.data.make_rooms import write_rooms_yaml
from tools.studies import consistency_signal
from tools.studies.consistency_signal import FOCALS, SHIFTS, oracle_disagreement, report

H, W = 48, 64
K = intrinsics_from_field_of_view(math.radians(60), height=H, width=W)[None]


def wall():
    x, y = pixel_grid(H, W, like=K)
    return (3 / (1 + 0.4 * (x - W / 2) / K[0, 0, 0] + 0.1 * (y - H / 2) / K[0, 1, 1])).view(1, 1, H, W)


@pytest.mark.parametrize("about", ["camera", "scene"])
def test_the_oracle_is_consistent_only_at_the_true_shift_and_focal_length(about):
    turns = opposite_turns([8.0])

    def at(shift, focal):
        return oracle_disagreement(wall(), K, turns, shift=shift, focal=focal, about=about)

    right = at(0.0, 1.0)
    assert right.relative < 1e-3
    for wrong in (at(0.3, 1.0), at(-0.3, 1.0), at(0.0, 1.3), at(0.0, 0.75)):
        assert wrong.relative > 4 * right.relative
    assert at(0.3, 1.0).slope < 0 < at(-0.3, 1.0).slope


def test_the_report_marks_the_valley():
    focal, shift = torch.tensor(FOCALS)[:, None], torch.tensor(SHIFTS)[None]
    surface = (shift - (focal - 1)).abs()
    text = report("camera", surface, surface)
    assert text.count("*") >= len(FOCALS)


def rooms_of(tmp_path):
    return write_rooms_yaml(tmp_path / "data.yaml", tmp_path / "rooms", image_size=[32, 48])


def test_both_rotations_are_printed_and_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(consistency_signal, "SHIFTS", (-0.2, 0.0, 0.2))
    monkeypatch.setattr(consistency_signal, "FOCALS", (0.9, 1.0, 1.1))
    out = tmp_path / "deep" / "signal"
    assert consistency_signal.main(["--data", str(rooms_of(tmp_path)), "--out", str(out), "--images", "2"]) == 0
    said = capsys.readouterr().out
    assert "views rotated about the camera" in said
    assert "views rotated about the scene" in said
    pictures = {f"{about}_{name}.png" for about in ("camera", "scene") for name in ("shift", "focal", "surface")}
    assert {path.name for path in out.iterdir()} == pictures


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--data", "missing.yaml"], 2, "'missing.yaml' does not exist"),
        (["--images", "many"], 2, "images"),
        (["--images", "0"], 1, "--images is 0"),
        (["--yaw", "60"], 1, "angles are inside (0, 45) degrees"),
        (["--out", "{file}/signal"], 1, "file"),
    ],
)
def test_wrong_calls_are_one_sentence_of_the_study(tmp_path, capsys, more, code, said):
    file = tmp_path / "file"
    file.write_text("x")
    call = [
        "--data",
        str(rooms_of(tmp_path)),
        "--out",
        str(tmp_path / "out"),
        *(word.format(file=file) for word in more),
    ]
    assert consistency_signal.main(call) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert code == 2 or len(error.strip().splitlines()) == 1
    assert not (tmp_path / "rooms").exists()


def test_a_call_without_a_folder_returns_two(capsys):
    assert consistency_signal.main([]) == 2
    assert "out" in capsys.readouterr().err
