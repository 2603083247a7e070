"""Camera files: corner convention of K, scaling with the frames, undistortion and invalid files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from datamodules.image_sequences.camera_file import Camera, read_camera
from tests.data.make_frames_video import write_camera

DISTORTION = [-0.28, 0.07, 0.0012, -0.0008, 0.01]


def test_pixel_centres_become_corners_and_k_scales_with_the_frames(tmp_path: Path) -> None:
    camera = read_camera(write_camera(tmp_path / "camera.yaml"))
    full = camera.for_frames(48, 64)
    np.testing.assert_allclose(full.K, [[60, 0, 32], [0, 62, 24], [0, 0, 1]])
    assert full.known
    assert full.maps is None
    np.testing.assert_allclose(camera.for_frames(24, 32).K, [[30, 0, 16], [0, 31, 12], [0, 0, 1]])
    corner = read_camera(write_camera(tmp_path / "corner.yaml", pixel_centres="false"))
    np.testing.assert_allclose(corner.for_frames(48, 64).K, [[60, 0, 31.5], [0, 62, 23.5], [0, 0, 1]])


def test_field_of_view_gives_a_k_marked_as_unknown(tmp_path: Path) -> None:
    (tmp_path / "camera.yaml").write_text("field_of_view_degrees: 90\n")
    camera = read_camera(tmp_path / "camera.yaml").for_frames(48, 64)
    np.testing.assert_allclose(camera.K, [[32, 0, 32], [0, 32, 24], [0, 0, 1]])  # tan 45 deg = 1
    assert not camera.known


def test_frames_of_other_proportions_are_refused(tmp_path: Path) -> None:
    camera = read_camera(write_camera(tmp_path / "camera.yaml"))
    with pytest.raises(ValueError, match="camera of 64x48 frames, but these are 64x36, which is no scaled version"):
        camera.for_frames(36, 64)


def scene(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a smooth image as a function of ray directions x/z and y/z."""
    return 128 + 60 * np.sin(7 * x + 1) + 60 * np.cos(6 * y - 3 * x)


def distorted_rays(K: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rays of the pixel centres of a distorted image, by inverting the lens equation per pixel."""
    k1, k2, p1, p2, k3 = DISTORTION
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    xd, yd = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    x, y = xd.copy(), yd.copy()
    for _ in range(60):  # fixed point of x_d = x * radial + tangential
        r2 = x**2 + y**2
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        x, y = (
            (xd - 2 * p1 * x * y - p2 * (r2 + 2 * x**2)) / radial,
            (yd - p1 * (r2 + 2 * y**2) - 2 * p2 * x * y) / radial,
        )
    return x, y


def test_undistorted_pixels_match_their_k(tmp_path: Path) -> None:
    height, width = 120, 160
    path = write_camera(
        tmp_path / "camera.yaml",
        fx=130.0,
        fy=128.0,
        cx=78.0,
        cy=61.5,
        width=width,
        height=height,
        distortion=DISTORTION,
    )
    camera = read_camera(path).for_frames(height, width)
    K = np.array([[130.0, 0, 78.5], [0, 128.0, 62.0], [0, 0, 1]])
    values = scene(*distorted_rays(K, height, width))
    seen = camera.undistort(np.repeat(values.round().astype(np.uint8)[..., None], 3, axis=2))

    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    expected = scene((u - camera.K[0, 2]) / camera.K[0, 0], (v - camera.K[1, 2]) / camera.K[1, 1])
    assert np.abs(seen[..., 0] - expected)[2:-2, 2:-2].max() < 2.0  # grey levels; half a pixel would be about 4
    assert np.abs(seen[..., 0] - expected).max() < 8.0  # no black corner

    depth = np.random.default_rng(0).integers(1, 1000, (height, width)).astype(np.float32)
    straight = camera.undistort_depth(depth)
    assert np.isin(straight, np.append(depth, 0)).all()  # measured values only
    assert (straight > 0).mean() > 0.95


def test_barrel_distortion_leaves_no_black_border() -> None:
    K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    camera = Camera("x", K=K, size=(48, 64), distortion=(0.2, 0.0, 0.0, 0.0, 0.0)).for_frames(48, 64)
    assert camera.maps is not None
    x, y = camera.maps
    assert x.min() > -1
    assert x.max() < 64
    assert y.min() > -1
    assert y.max() < 48


def test_zero_distortion_leaves_frames_alone(tmp_path: Path) -> None:
    camera = read_camera(write_camera(tmp_path / "camera.yaml", distortion=[0, 0, 0, 0, 0])).for_frames(48, 64)
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    assert camera.undistort(image) is image
    assert cv2.countNonZero(camera.undistort_depth(np.ones((48, 64), np.float32))) == 48 * 64


BAD = {
    "missing key": ({"fy": None, "cx": None}, r"fy, cx missing; give fx, fy, cx, cy, width, height, or field_of_view"),
    "unknown key": ({"focal": 3}, r"'focal' is not known; the keys are fx, fy"),
    "nan": ({"fx": ".nan"}, r"fx has to be a finite number, but it is nan"),
    "infinite": ({"cy": ".inf"}, r"cy has to be a finite number, but it is inf"),
    "word": ({"fx": "wide"}, r"fx has to be a finite number, but it is 'wide'"),
    "truth value": ({"fx": "true"}, r"fx has to be a finite number, but it is True"),
    "negative focal length": ({"fx": -60}, r"focal lengths are in pixels and positive, but fx=-60"),
    "principal point outside": ({"cx": 300}, r"principal point \(300.5, 24\) lies outside the 64x48 image"),
    "half pixels": ({"width": 64.5}, r"width and height are whole pixels, but they are 64.5 and 48"),
    "no size": ({"width": 0}, r"width and height are whole pixels, but they are 0 and 48"),
    "convention in words": ({"pixel_centres": "maybe"}, r"pixel_centres is true or false, but it is 'maybe'"),
    "four coefficients": (
        {"distortion": [1, 2, 3, 4]},
        r"distortion is a list of k1, k2, p1, p2, k3, but it is \[1, 2",
    ),
    "nan coefficient": ({"distortion": "[0, 0, .nan, 0, 0]"}, r"p1 has to be a finite number"),
    "both": ({"field_of_view_degrees": 60}, r"field_of_view_degrees stands alone; give it or fx"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_files_have_one_sentence(tmp_path: Path, case: str) -> None:
    changes, message = BAD[case]
    path = write_camera(tmp_path / "camera.yaml", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        read_camera(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("field_of_view_degrees: 180\n", "has to lie between 5 and 170"),
        ("", "has to hold lines such as 'fx: 525.0', but it holds None"),
        ("- 525\n", "has to hold lines such as"),
        ("fx: [525\n", "is no YAML"),
    ],
)
def test_files_that_are_no_camera_have_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "camera.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_camera(tmp_path / "camera.yaml")
    assert "\n" not in str(caught.value)


def test_missing_file_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no camera file .*camera.yaml: write fx, fy, cx, cy, width and height"
    ):
        read_camera(tmp_path / "camera.yaml")
