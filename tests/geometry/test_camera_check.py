"""What can be a camera, what cannot, and whether the likely reason is the right one."""

import math

import pytest

from geometry.camera_check import (
    CameraError,
    Intrinsics,
    check_camera,
    check_camera_numbers,
    check_field_of_view,
)

NYU = (518.86, 519.47, 326.08, 254.24)
"""Kinect of NYU Depth v2, corner convention: 2 and 6 % off the middle."""
KITTI = (721.54, 721.54, 610.06, 173.35)

USUAL = {
    "nyu": (NYU, 640, 480),
    "kitti": (KITTI, 1242, 375),
    "phone": ((3200.0, 3200.0, 2016.0, 1512.0), 4032, 3024),
    "portrait": ((3200.0, 3200.0, 1512.0, 2016.0), 3024, 4032),
    "square": ((100.0, 100.0, 60.0, 68.0), 128, 128),
    "a crop of 90 %": ((500.0, 500.0, 300.0, 210.0), 576, 432),
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_cameras_are_accepted_without_a_word(name):
    values, width, height = USUAL[name]
    assert check_camera(Intrinsics(*values), width=width, height=height) == []


REFUSED = {
    "normalised": ((0.58, 1.92, 0.5, 0.5), 640, 480, "normalised by the image size"),
    "normalised and shifted by half a pixel": ((0.58, 1.92, 1.0, 1.0), 640, 480, "normalised by the image size"),
    "normalised centre": ((500.0, 500.0, 0.5, 0.5), 640, 480, "in the corner of the 640x480 image: normalised"),
    "centre left at zero": ((500.0, 500.0, 0.0, 0.0), 640, 480, "not filled in"),
    "normalised focal": ((0.8, 1.1, 320.0, 240.0), 640, 480, "normalised by the image size"),
    "negative": ((-50.0, 50.0, 320.0, 240.0), 640, 480, "positive, but fx=-50 and fy=50"),
    "zero": ((50.0, 0.0, 320.0, 240.0), 640, 480, "positive"),
    "nan": ((500.0, 500.0, math.nan, 240.0), 640, 480, "finite"),
    "infinite": ((math.inf, 500.0, 320.0, 240.0), 640, 480, "finite"),
    "twice as large, at the very border": ((1000.0, 1000.0, 640.0, 480.0), 640, 480, r"1280x960 \(2 times as large"),
    "half as large, at the very border": ((250.0, 250.0, 160.0, 120.0), 640, 480, r"320x240 \(0.5 times as large"),
    "half as large, nyu": (tuple(v / 2 for v in NYU), 640, 480, r"320x240 \(0.5 times.*multiply them by 2"),
    "twice as large, nyu": (tuple(v * 2 for v in NYU), 640, 480, r"1280x960 \(2 times.*divide fx, fy, cx and cy by 2"),
    "three times as large": (tuple(v * 3 for v in NYU), 640, 480, r"1920x1440 \(3 times"),
    "a third as large": (tuple(v / 3 for v in NYU), 640, 480, r"213x160 \(0.333 times"),
    "outside": ((500.0, 500.0, 700.0, 240.0), 640, 480, "lies outside the 640x480 image"),
    "negative centre": ((500.0, 500.0, -20.0, 240.0), 640, 480, "lies outside the 640x480 image"),
    "of another proportion, outside": ((1000.0, 1000.0, 960.0, 540.0), 640, 480, "middle of 1920x1080"),
    "turned": ((518.9, 519.5, 326.1, 254.2), 480, 640, "turned by 90 degrees"),
    "turned, to landscape": ((500.0, 500.0, 241.0, 318.0), 640, 480, "turned by 90 degrees"),
    "millimetres": ((4.25, 4.25, 2016.0, 1512.0), 4032, 3024, "in millimetres"),
    "narrow": ((9000.0, 9000.0, 320.0, 240.0), 640, 480, "horizontal field of view of 4.07 degrees"),
    "wide": ((26.0, 26.0, 320.0, 240.0), 640, 480, "field of view of 171 degrees"),
    "narrow in height alone": ((500.0, 6000.0, 320.0, 240.0), 640, 480, "fy=6000 means a vertical field of view"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_the_likely_reason(case):
    values, width, height, message = REFUSED[case]
    with pytest.raises(CameraError, match=message) as caught:
        check_camera(Intrinsics(*values), width=width, height=height)
    assert not str(caught.value).endswith(".")


DOUBTS = {
    "a crop": ((500.0, 500.0, 100.0, 240.0), 640, 480, "crop", "outside the middle half"),
    "of 1280x720, on the border": ((900.0, 900.0, 640.0, 360.0), 640, 480, "crop", "middle of 1280x720"),
    "a quarter larger": ((500.0, 500.0, 400.0, 300.0), 640, 480, "size", r"800x600 \(1.25 times"),
    "a third larger, nyu": (tuple(v * 4 / 3 for v in NYU), 640, 480, "size", "times as large"),
    "four fifths": ((400.0, 400.0, 256.0, 192.0), 640, 480, "size", r"512x384 \(0.8 times"),
    "fx and fy": ((500.0, 900.0, 320.0, 240.0), 640, 480, "pixels", "differ by a factor of 0.556"),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_what_is_odd_but_possible_is_a_doubt(case):
    values, width, height, kind, message = DOUBTS[case]
    (doubt,) = check_camera(Intrinsics(*values), width=width, height=height)
    assert doubt.kind == kind
    with pytest.raises(ValueError, match=message):  # the same way of matching as above
        raise ValueError(doubt.message)


@pytest.mark.parametrize("degrees", [5.0, 60.0, 170.0])
def test_fields_of_view_of_cameras(degrees):
    check_field_of_view(degrees)
    focal = 320 / math.tan(math.radians(degrees) / 2)
    check_camera(Intrinsics(focal, focal, 320.0, 320.0), width=640, height=640)


@pytest.mark.parametrize(
    ("degrees", "message"),
    [
        (4.9, "4.9"),
        (171.0, "171"),
        (math.nan, "nan"),
        (-60.0, "-60"),
        (1.05, r"in radians\? 1.05 rad are 60.2"),
    ],
)
def test_other_fields_of_view_are_refused(degrees, message):
    with pytest.raises(CameraError, match=message):
        check_field_of_view(degrees)


def test_what_is_written_need_not_know_the_image():
    check_camera_numbers(500.0, 500.0, 319.5, 239.5)
    check_camera_numbers(500.0, 500.0, 0.0, 0.0)  # which only the image can refuse
    with pytest.raises(CameraError, match=r"fx=0.58, fy=1.92, cx=0.5, cy=0.5: normalised"):
        check_camera_numbers(0.58, 1.92, 0.5, 0.5)


@pytest.mark.parametrize("point", [(0.5, 240.0), (320.0, 0.0), (320.0, 1.0)])
def test_a_principal_point_of_which_one_number_was_not_filled_in_is_refused(point):
    with pytest.raises(CameraError, match="lies on the border of the 640x480 image: normalised by the image size, or"):
        check_camera(Intrinsics(525.0, 525.0, *point), width=640, height=480)
