"""Calibration files: what is saved is read, everything wrong is one sentence, and depth comes out by the formula."""

import dataclasses
import math

import pytest
import torch
import yaml

from structures.calibration import FLOOR_OF_LARGEST, Calibration

DEPTH = Calibration(
    output="depth",
    shift=-0.1 - 0.2,  # has all its digits
    shift_interval=(-0.5, 1e-7),
    domain="rooms: wide, zoomed #1",
    teacher="runs/übung/best.ckpt",
    images=80,
    field_of_view_degrees=58.25,
    field_of_view_interval=(51.0, 63.5),
)
DISPARITY = Calibration("disparity", 0.25, (0.25, 0.25), "photos", "org/model", 1)


@pytest.mark.parametrize("calibration", [DEPTH, DISPARITY])
def test_what_is_saved_is_read(tmp_path, calibration):
    path = tmp_path / "new folder" / "c.yaml"
    calibration.save(path)
    assert Calibration.load(path) == calibration
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(values) == [field.name for field in dataclasses.fields(Calibration)]
    assert path.read_text(encoding="utf-8").startswith("# Calibration")


def test_optional_keys_may_be_left_out_and_whole_numbers_are_numbers(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "output: depth\nshift: 1\nshift_interval: [0, 2]\ndomain: d\nteacher: t\nimages: 3\nfield_of_view_degrees: 60\n"
    )
    calibration = Calibration.load(path)
    assert (calibration.shift, calibration.shift_interval, calibration.field_of_view_interval) == (1, (0, 2), None)
    torch.testing.assert_close(calibration.to_depth(torch.ones(1, 1, 2, 2)), torch.full((1, 1, 2, 2), 2.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shift": None}, r"lacks shift; its keys are output, shift, shift_interval"),
        ({"teacher": None, "images": None, "more": 1, "again": 2}, "lacks teacher, images and has unknown again, more"),
        ({"output": "inverse"}, "output is 'inverse', but must be one of depth, disparity"),
        ({"output": ["depth"]}, r"output is \['depth'\]"),
        ({"shift": math.nan}, "shift is nan, but must be a finite number"),
        ({"shift": "0.1 m"}, "shift is '0.1 m', but must be a finite number"),
        ({"shift": True}, "shift is True, but"),
        ({"shift_interval": [0.0, math.inf]}, "the interval of shift is .*, but must be two finite numbers"),
        ({"shift_interval": [0.0]}, "must be two finite numbers"),
        ({"shift_interval": 0.3}, "must be two finite numbers"),
        ({"shift": 3.0}, r"shift is 3\.0, but its interval is -0\.5 to 1e-07, which does not contain it"),
        ({"shift_interval": [1.0, -1.0]}, "which does not contain it"),
        ({"field_of_view_degrees": 40.0}, "field_of_view_degrees is 40.0, but its interval is 51 to 63.5"),
        ({"field_of_view_degrees": 180, "field_of_view_interval": [90, 180]}, "field of view is 180 degrees"),
        ({"field_of_view_degrees": -1, "field_of_view_interval": ...}, "field of view is -1 degrees"),
        ({"field_of_view_degrees": ...}, "field_of_view_interval is given without field_of_view_degrees"),
        ({"domain": 7}, "domain is 7, but must be a string"),
        ({"images": 0}, "images is 0, but must be a whole number of at least 1"),
        ({"images": 2.0}, "images is 2.0, but"),
    ],
)
def test_everything_wrong_is_one_sentence_with_the_file(tmp_path, change, message):
    path = tmp_path / "c.yaml"
    DEPTH.save(path)
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, value in change.items():
        values[name] = None if value is ... else value
        if value is None:
            del values[name]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=message) as caught:
        Calibration.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"just words", b"a: [1,\n b: }", b"\xff\xfe\x00\x01"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a YAML file|has no keys") as caught:
        Calibration.load(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        Calibration.load(tmp_path / "none.yaml")


def test_depth_and_disparity_by_the_formula():
    output = torch.tensor([[1.0, 2.0, 4.0]]).view(1, 1, 1, 3)
    depth = dataclasses.replace(DEPTH, shift=0.5, shift_interval=(0, 1))
    disparity = dataclasses.replace(depth, output="disparity")
    assert depth.to_depth(output).flatten().tolist() == [1.5, 2.5, 4.5]
    torch.testing.assert_close(disparity.to_depth(output).flatten(), 1 / torch.tensor([1.5, 2.5, 4.5]))
    assert depth.correct(output).flatten().tolist() == [1.5, 2.5, 4.5]
    torch.testing.assert_close(disparity.correct(output).flatten(), 1 / (1 / torch.tensor([1.0, 2, 4]) + 0.5))
    # A shift that distorts, taken away again.
    truth = 1 + torch.rand(2, 1, 5, 6)
    torch.testing.assert_close(depth.to_depth(truth - 0.5), truth)
    torch.testing.assert_close(disparity.to_depth(1 / truth - 0.5), truth)
    assert depth.to_depth(output.half()).dtype is torch.float32


@pytest.mark.parametrize("output", ["depth", "disparity"])
def test_what_would_not_be_positive_is_clamped_image_by_image(output):
    calibration = dataclasses.replace(DEPTH, output=output, shift=-2.0, shift_interval=(-2, -2))
    values = torch.tensor([[1.0, 2.0, 4.0], [-1.0, 3.0, 12.0], [0.5, 1.0, 2.0], [math.nan, 3.0, 4.0]]).view(4, 1, 1, 3)
    depth = calibration.to_depth(values)
    shifted = torch.tensor([[2 * FLOOR_OF_LARGEST, 2 * FLOOR_OF_LARGEST, 2.0], [10 * FLOOR_OF_LARGEST, 1.0, 10.0]])
    torch.testing.assert_close(depth[:2].view(2, 3), shifted if output == "depth" else 1 / shifted)
    assert (depth[2] == 0).all()  # nothing is known of an image without a positive value
    assert depth[3].isnan().any()


def test_intrinsics_of_an_image():
    calibration = dataclasses.replace(DEPTH, field_of_view_degrees=90.0, field_of_view_interval=None)
    expected = torch.tensor([[50.0, 0, 50], [0, 50, 30], [0, 0, 1]])
    torch.testing.assert_close(calibration.intrinsics(60, 100), expected)
    with pytest.raises(ValueError, match="has no field of view"):
        DISPARITY.intrinsics(60, 100)


def test_bad_outputs_are_named():
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        DEPTH.to_depth(torch.ones(2, 2))
