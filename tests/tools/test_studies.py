"""The studies of shift and shape: their output on a few images of constant depth, and wrong calls."""

import math

import pytest
import torch
from torch import nn

from geometry.camera import intrinsics_from_field_of_view
from lightning_modules.render_consistency import RenderConsistency
from lightning_modules.render_consistency.view_sampling import ViewSampler
from tests.data.make_teachers import save, save_depth_checkpoint
from tools.studies import calibration_study, shape_study
from tools.studies.calibration_study import Rooms

H, W = 12, 16
STUDIES = {"calibration": (calibration_study.main, ["--checkpoint"]), "shape": (shape_study.main, [])}
both = pytest.mark.parametrize("study", STUDIES)


class FlatNetwork(nn.Module):
    """Predicts a depth of 2 for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.log_depth = nn.Parameter(torch.tensor(math.log(2.0)))

    def forward(self, image):
        return self.log_depth.expand(len(image), 1, *image.shape[-2:])


def save_render_consistency(path, shift):
    module = RenderConsistency(
        network=FlatNetwork(), shift=shift, views=ViewSampler("camera"), loss_weights={"ssi": 1.0}
    )
    views = {
        "class_path": "lightning_modules.render_consistency.view_sampling.ViewSampler",
        "init_args": {"about": "camera"},
    }
    network = {"class_path": f"{__name__}.FlatNetwork"}
    save(path, module, "tiny", {"network": network, "shift": shift, "views": views, "loss_weights": {"ssi": 1.0}})


def some_rooms(name, settings, images, size, split="train"):
    generator = torch.Generator().manual_seed(0)
    images = min(images, 6)
    return Rooms(
        name,
        torch.rand(images, 3, H, W, generator=generator),
        intrinsics_from_field_of_view(math.radians(60), height=H, width=W)[None].repeat(images, 1, 1),
        2 + torch.rand(images, 1, H, W, generator=generator),
        torch.zeros(images, H, W, dtype=torch.int64),
    )


def no_rooms(*arguments, **options):
    raise AssertionError("rooms were rendered for a wrong call")


@pytest.fixture
def rooms(monkeypatch):
    for module in (calibration_study, shape_study):
        monkeypatch.setattr(module, "load", some_rooms)


def test_shape_errors_of_each_checkpoint_are_printed_for_each_shift(tmp_path, rooms, capsys):
    paths = [tmp_path / "a.ckpt", tmp_path / "b.ckpt"]
    for path, shift in zip(paths, (0.0, 0.5), strict=True):
        save_render_consistency(path, shift)
    assert shape_study.main([*map(str, paths), "--images", "2", "--size", str(H), str(W)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [f"{path} (median depth 2.000)" for path in paths]
    assert len(lines) == 2 * 6
    assert lines[1].startswith("  none (0.000): chamfer_m ")
    assert lines[8].startswith("  learned (0.500): chamfer_m ")


def test_five_domains_and_two_ranges_are_printed(tmp_path, rooms, capsys):
    save_depth_checkpoint(tmp_path / "a.ckpt", depth_m=2.0)
    assert calibration_study.main(["--checkpoint", str(tmp_path / "a.ckpt"), "--images", "15"]) == 0
    text = capsys.readouterr().out
    for hidden in ("+0.00", "+0.20", "-0.20", "+0.40", "-0.30"):
        assert text.count(f"images): {hidden} |") == 2  # of depth and of disparity
    assert text.count("shift known") == text.count("both unknown") == 2


@both
@pytest.mark.parametrize("broken", ["missing", "truncated", "foreign"])
def test_a_checkpoint_that_cannot_be_read_is_one_sentence_before_any_room_is_made(
    study, broken, tmp_path, monkeypatch, capsys
):
    for module in (calibration_study, shape_study):
        monkeypatch.setattr(module, "load", no_rooms)
    main, option = STUDIES[study]
    path = tmp_path / "net.ckpt"
    if broken == "truncated":
        save_render_consistency(path, 0.0)
        path.write_bytes(path.read_bytes()[:-200])
    elif broken == "foreign":
        path.write_text("no network")
    capsys.readouterr()
    assert main([*option, str(path)]) == 1
    said = capsys.readouterr()
    reason = {"missing": "does not exist", "truncated": "damaged or truncated", "foreign": "not a checkpoint"}[broken]
    assert said.err.startswith("error: ")
    assert reason in said.err
    assert str(path) in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert said.out == ""


def test_a_checkpoint_of_another_paper_has_no_shift_to_study(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shape_study, "load", no_rooms)
    save_depth_checkpoint(tmp_path / "net.ckpt", depth_m=2.0)
    capsys.readouterr()
    assert shape_study.main([str(tmp_path / "net.ckpt")]) == 1
    assert "holds a SupervisedDepth, but a RenderConsistency is needed" in capsys.readouterr().err


@both
def test_a_wrong_call_returns_two_and_a_wrong_number_one(study, capsys):
    main, option = STUDIES[study]
    assert main([]) == 2
    assert main([*option, "net.ckpt", "--size", "big", "small"]) == 2
    assert capsys.readouterr().err.count("error: ") == 2
    assert main([*option, "net.ckpt", "--images", "0"]) == 1
    assert "--images is 0" in capsys.readouterr().err
