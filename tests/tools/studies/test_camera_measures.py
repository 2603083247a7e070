"""Measures of gains, noise and blur against frames that were made with known ones."""

import math

import cv2
import numpy as np
import pytest

from datamodules.samples.camera import motion_blur, to_display, to_linear
from tools.studies.camera_measures import (
    LAGS,
    Pair,
    edge_widths,
    fit_noise,
    fit_shutter,
    log_gains,
    match,
    noise_samples,
    rms_changes,
)

GAINS = np.array([1.06, 1.03, 0.99], np.float32)


def surface(seed=0):
    """Linear light of a smooth surface with marks that optical flow can follow."""
    generator = np.random.default_rng(seed)
    coarse = cv2.GaussianBlur(generator.standard_normal((200, 260)).astype(np.float32), (0, 0), 7)
    light = 0.3 + 0.12 * coarse / coarse.std()
    return np.repeat(light.clip(0.05, 0.7)[..., None], 3, axis=2) * np.array([1.0, 0.9, 0.8], np.float32)


def frames(shot=0.0, gains=GAINS, seed=0):
    """Two uint8 frames of the surface; the second is shifted by (5, 3) pixels and brighter."""
    light, generator = surface(seed), np.random.default_rng(seed + 100)
    result = []
    for part, factor in ((light[10:170, 10:220], np.ones(3)), (light[13:173, 15:225], gains)):
        exposed = part * factor
        exposed = exposed + np.sqrt(shot * exposed) * generator.standard_normal(part.shape)
        result.append((to_display(exposed) * 255 + 0.5).astype(np.uint8))
    return result


def test_matched_frames_have_the_shift_and_the_gains_that_they_were_made_with():
    pair = match(*frames())
    inner = pair.flow[20:-20, 20:-20]
    np.testing.assert_allclose(np.median(inner.reshape(-1, 2), axis=0), [-5, -3], atol=0.1)
    np.testing.assert_allclose(log_gains(pair), np.log2(GAINS), atol=0.004)
    np.testing.assert_allclose(log_gains(match(*frames(shot=0.0005, seed=1))), np.log2(GAINS), atol=0.008)


def test_gains_need_smooth_well_exposed_pixels():
    white = np.full((60, 80, 3), 255, np.uint8)
    assert log_gains(match(white, white)) is None
    ramp = np.broadcast_to(30 + 8 * np.arange(24)[:, None], (40, 24, 3)).astype(np.uint8)  # 8 grey levels a pixel
    assert log_gains(match(ramp, ramp)) is None
    gentle = np.broadcast_to(30 + 3 * np.arange(24)[:, None], (40, 24, 3)).astype(np.uint8)
    np.testing.assert_allclose(log_gains(match(gentle, gentle)), 0, atol=1e-6)


def test_noise_of_matched_frames_is_that_of_one_frame():
    shot = 0.0006
    found = [noise_samples(match(*frames(shot=shot, seed=seed))) for seed in range(4)]
    intensity, deviation = (np.concatenate(part) for part in zip(*found, strict=True))
    bins, measured, read = fit_noise(intensity, deviation)
    assert len(bins) >= 4
    assert math.isclose(measured, shot, rel_tol=0.2)
    assert read < 0.006


@pytest.mark.parametrize(("shot", "read"), [(0.0004, 0.01), (0.0004, 0.0), (0.0, 0.01)])
def test_shot_and_read_noise_are_the_line_through_the_variances(shot, read):
    generator = np.random.default_rng(0)
    intensity = generator.uniform(0, 0.7, 400_000).astype(np.float32)
    deviation = np.sqrt(shot * intensity + read**2) * generator.standard_normal(len(intensity))
    deviation[::50] += 0.5  # wrong matches
    bins, found_shot, found_read = fit_noise(intensity, deviation.astype(np.float32))
    assert len(bins) == 14
    assert math.isclose(found_shot, shot, rel_tol=0.08, abs_tol=2e-5)
    assert math.isclose(found_read, read, rel_tol=0.05, abs_tol=2e-3)
    with pytest.raises(ValueError, match="Fewer than two levels of intensity"):
        fit_noise(intensity[:100], deviation[:100].astype(np.float32))


def test_changes_of_independent_steps_grow_with_the_root_of_the_number_of_frames():
    steps = 0.02 * np.random.default_rng(0).standard_normal(40_000)
    np.testing.assert_allclose(rms_changes(steps), 0.02 * np.sqrt(LAGS), rtol=0.06)
    steps[::1000] = np.nan  # pairs that do not match
    np.testing.assert_allclose(rms_changes(steps), 0.02 * np.sqrt(LAGS), rtol=0.06)
    ramp = rms_changes(np.full(100, 0.01))
    np.testing.assert_allclose(ramp, 0.01 * np.array(LAGS))
    assert math.isnan(rms_changes(np.zeros(3))[-1])


def discs(shutter, motion):
    """Pair whose first frame shows bright discs, blurred by a motion."""
    fine = np.zeros((1920, 2560), np.uint8)
    for y in range(100, 1860, 160):
        for x in range(100, 2480, 160):
            cv2.circle(fine, (x, y), 48, 255, -1)
    light = cv2.resize(fine, (640, 480), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    path = np.broadcast_to(np.float32(motion), (480, 640, 2)).astype(np.float32)
    # Blurred in display values, in which the widths are measured.
    display = motion_blur(np.repeat(light[..., None], 3, axis=2) * 0.8 + 0.1, shutter * path)
    colours, grey = to_linear(display), display[..., 0]
    return Pair(colours, colours, path, np.ones((480, 640), np.float32), np.ones((480, 640), bool), grey)


@pytest.mark.parametrize("shutter", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("motion", [(8, 0), (4, 6)])
def test_edges_across_the_motion_are_wider_by_the_shutter(shutter, motion):
    across, width = edge_widths(discs(shutter, motion))
    assert len(across) > 200
    found, sharp = fit_shutter(across, width)
    assert math.isclose(found**2, shutter**2, abs_tol=0.03)  # an edge on the grid of pixels is wider at 45 degrees
    assert 0.2 < sharp < 0.9


def test_the_shutter_is_the_slope_of_the_widths():
    across = np.linspace(0, 100, 800, dtype=np.float32)
    found, sharp = fit_shutter(across, 0.25 + 0.3**2 / 12 * across)
    assert math.isclose(found, 0.3, rel_tol=1e-3)
    assert math.isclose(sharp, 0.5, rel_tol=1e-2)
    with pytest.raises(ValueError, match="Only 5 edges were found, but 200 are needed"):
        fit_shutter(across[:5], across[:5])


def test_a_picture_without_edges_has_none():
    flat = np.full((60, 80, 3), 128, np.uint8)
    across, width = edge_widths(match(flat, flat))
    assert len(across) == len(width) == 0
