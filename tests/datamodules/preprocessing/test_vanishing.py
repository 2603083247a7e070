"""Vanishing directions of synthetic rooms with a known camera."""

import math

import cv2
import numpy as np
import pytest

from datamodules.preprocessing.vanishing import VanishingSettings, angles_between, find_segments, vanishing_directions

HEIGHT, WIDTH = 288, 384
K = np.array([[330.0, 0, 200.0], [0, 335.0, 138.0], [0, 0, 1]])


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return the camera rotation for angles in radians; rows are the world axes in the camera frame."""
    parts = [cv2.Rodrigues(np.array(axis))[0] for axis in ((0.0, yaw, 0), (pitch, 0.0, 0), (0, 0.0, roll))]
    return (parts[2] @ parts[1] @ parts[0]).T


def draw_room(axes: np.ndarray, *, clutter: int = 0, seed: int = 0) -> np.ndarray:
    """Image of a box room: its walls in different greys, panels along the axes on them, and lines that fit nothing.

    Drawn three times as large and averaged, so that edges lie where they should to a fraction of a pixel.
    """
    rng = np.random.default_rng(seed)
    factor = 3
    y, x = (np.mgrid[: HEIGHT * factor, : WIDTH * factor] + 0.5) / factor
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1)
    world = rays @ axes.T
    half = np.array([2.0, 1.4, 3.0])
    reach = half / np.abs(world)
    wall = reach.argmin(axis=-1)
    points = world * reach.min(axis=-1)[..., None]
    grey = 90.0 + 40 * wall + 15 * np.sign(np.take_along_axis(world, wall[..., None], axis=-1)[..., 0])
    share = points / half
    on_panel = ((share + 0.9) % 0.6 < 0.4) & (np.abs(share) < 0.9)  # three by three panels on each wall
    others = ~np.eye(3, dtype=bool)[wall]
    grey[(on_panel | ~others).all(axis=-1)] += 35
    image = grey.reshape(HEIGHT, factor, WIDTH, factor).mean(axis=(1, 3))
    image = np.repeat(image[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)
    for _ in range(clutter):
        start, step = rng.uniform(0, [WIDTH, HEIGHT]), rng.uniform(-90, 90, 2)
        ends = np.rint([start, start + step]).astype(int).tolist()
        cv2.line(image, ends[0], ends[1], (20, 20, 20), 2, cv2.LINE_AA)
    return image


def degrees_off(found: np.ndarray, axes: np.ndarray) -> float:
    return math.degrees(angles_between(found[None], axes)[0])


@pytest.mark.parametrize("angles", [(0.5, 0.2, 0.05), (-0.9, -0.15, -0.1), (0.75, 0.3, 0.0), (0.2, -0.4, 0.15)])
@pytest.mark.parametrize("clutter", [0, 6])
def test_the_frame_of_a_drawn_room_is_found(angles, clutter):
    axes = rotation(*angles)
    found = vanishing_directions(draw_room(axes, clutter=clutter), K)
    assert found is not None
    assert degrees_off(found, axes) < 0.3
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-9)
    assert (found[:, 2] >= 0).all()
    assert np.abs(found[:, 1]).argmax() == 2  # the vertical one
    assert found[0, 0] > found[1, 0]


def test_a_camera_along_an_axis_is_found():
    axes = rotation(0.0, 0.0, 0.0)
    found = vanishing_directions(draw_room(axes), K)
    assert found is not None
    assert degrees_off(found, axes) < 0.3


def test_size_type_and_run_do_not_matter():
    axes = rotation(0.5, 0.2, 0.05)
    image = draw_room(axes)
    found = vanishing_directions(image, K)
    np.testing.assert_array_equal(vanishing_directions(image, K), found)
    np.testing.assert_array_equal(vanishing_directions(image.astype(np.float32) / 255, K), found)
    doubled = cv2.resize(image, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_LINEAR)
    assert degrees_off(vanishing_directions(doubled, np.diag([2.0, 2, 1]) @ K), axes) < 0.5


def test_a_mirrored_image_has_mirrored_directions():
    axes = rotation(0.5, 0.2, 0.05)
    K_mirrored = K.copy()
    K_mirrored[0, 2] = WIDTH - K[0, 2]
    found = vanishing_directions(np.ascontiguousarray(draw_room(axes)[:, ::-1]), K_mirrored)
    assert degrees_off(found, axes * np.array([-1, 1, 1])) < 0.3


def test_images_without_lines_have_no_directions():
    assert vanishing_directions(np.full((HEIGHT, WIDTH, 3), 128, np.uint8), K) is None
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    assert vanishing_directions(noise, K) is None


@pytest.mark.parametrize("max_rival", [0.9, 1.0])
def test_one_direction_alone_is_ambiguous(max_rival):
    stripes = np.tile(np.repeat(np.array([60, 180], np.uint8), 32), 6)[:WIDTH]
    image = np.repeat(np.tile(stripes, (HEIGHT, 1))[..., None], 3, axis=2)
    assert vanishing_directions(image, K, VanishingSettings(max_rival=max_rival)) is None


def test_two_frames_at_once_are_left_undecided():
    left, right = draw_room(rotation(0.2, 0.1, 0)), draw_room(rotation(0.75, 0.1, 0))
    # The upper half of one room over the lower half of another that is turned by half a radian.
    image = np.concatenate([left[: HEIGHT // 2], right[HEIGHT // 2 :]])
    assert vanishing_directions(image, K, VanishingSettings(max_rival=0.5)) is None


def test_segments_are_in_corner_coordinates():
    found = []
    for edge in range(100, 110):  # an edge between two pixels lies at a whole corner coordinate
        image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
        image[:, edge:] = 200
        (segment,) = find_segments(image, min_length_px=60)
        found.append(segment[[0, 2]] - edge)
        (segment,) = find_segments(np.ascontiguousarray(image.transpose(1, 0, 2)), min_length_px=60)
        found.append(segment[[1, 3]] - edge)
    assert np.abs(found).max() < 0.15
    assert abs(np.mean(found)) < 0.02


def test_short_segments_are_dropped_and_the_longest_come_first():
    image = draw_room(rotation(0.5, 0.2, 0.05))
    segments = find_segments(image, min_length_px=60)
    lengths = np.hypot(*(segments[:, 2:] - segments[:, :2]).T)
    assert lengths.min() >= 60
    assert (np.diff(lengths) <= 0).all()
    assert len(find_segments(image, min_length_px=20)) > len(segments)


def test_angles_between_frames():
    axes = rotation(0.5, 0.2, 0.05)
    turned = axes @ rotation(0.0, 0.3, 0.0).T
    signs = turned[[1, 2, 0]] * np.array([[-1], [1], [-1]])
    np.testing.assert_allclose(angles_between(np.stack([axes, signs]), axes), [0, 0.3], atol=1e-6)
