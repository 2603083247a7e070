"""Effects of a camera against closed forms: curves, gains, noise by intensity, blur of an edge, compression."""

import math

import cv2
import numpy as np
import pytest

from datamodules.samples.camera import (
    CameraEffects,
    compress,
    expose,
    motion_blur,
    noise_generator,
    series,
    to_display,
    to_linear,
    video_gains,
)

NO_GAIN = np.ones(3, np.float32)
GAINS = CameraEffects(
    exposure_stops=0.3, exposure_step_stops=0.05, white_balance_stops=0.1, white_balance_step_stops=0.04
)


def photo(size=64):
    return np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)


def exposed(image, effects, *, gains=NO_GAIN, motion=None, frame=0):
    return expose(image, effects, gains=gains, motion=motion, generator=noise_generator(effects, "v", frame))


def test_the_curve_is_that_of_srgb_and_its_inverse():
    # IEC 61966-2-1
    np.testing.assert_allclose(to_linear(np.array([0, 0.04, 0.5, 1])), [0, 0.04 / 12.92, 0.21404114, 1], rtol=1e-5)
    values = np.linspace(0, 1, 256)
    np.testing.assert_allclose(to_display(to_linear(values)), values, atol=1e-6)


def test_no_effect_leaves_every_value():
    image = photo()
    assert exposed(image, CameraEffects()) is image
    np.testing.assert_array_equal(exposed(image, GAINS), image)  # gains of one


def test_gains_multiply_linear_light():
    image = np.full((8, 8, 3), 128, np.uint8)
    gains = np.array([2.0, 1.0, 0.5], np.float32)
    found = exposed(image, GAINS, gains=gains)
    light = ((128 / 255 + 0.055) / 1.055) ** 2.4 * gains
    expected = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(found[3, 3], expected, atol=0.51)
    assert exposed(image, GAINS, gains=9 * gains).max() == 255  # saturated, not wrapped


@pytest.mark.parametrize(("spread", "step"), [(0.3, 0.02), (0.1, 0.1), (0.2, math.sqrt(2) * 0.2)])
def test_series_have_the_spread_of_their_values_and_of_their_changes(spread, step):
    parts = [series(2000, spread=spread, step=step, generator=np.random.default_rng(seed)) for seed in range(100)]
    values = np.stack(parts)
    assert math.isclose(values.std(), spread, rel_tol=0.05)
    assert math.isclose(np.diff(values, axis=1).std(), step, rel_tol=0.02)
    assert math.isclose(values[:, 0].std(), spread, rel_tol=0.25)  # from the first frame on


def test_gains_are_a_function_of_seed_and_video():
    gains = video_gains(GAINS, "video/train/0003", 24)
    assert gains.shape == (24, 3)
    np.testing.assert_array_equal(gains, video_gains(GAINS, "video/train/0003", 24))
    np.testing.assert_array_equal(gains[:9], video_gains(GAINS, "video/train/0003", 9))
    assert not np.allclose(gains, video_gains(GAINS, "video/train/0004", 24))
    other = CameraEffects(**{**vars(GAINS), "seed": 1})
    assert not np.allclose(gains, video_gains(other, "video/train/0003", 24))
    many = np.log2(np.concatenate([video_gains(GAINS, str(k), 24) for k in range(400)]))
    balance = many[:, [0, 2]] - many[:, 1:2]
    assert math.isclose(many[:, 1].std(), 0.3, rel_tol=0.1)
    np.testing.assert_allclose(balance.std(axis=0), 0.1, rtol=0.1)
    assert abs(np.corrcoef(balance.T)[0, 1]) < 0.15
    np.testing.assert_array_equal(video_gains(CameraEffects(), "v", 5), np.ones((5, 3)))


@pytest.mark.parametrize(("shot", "read"), [(0.0004, 0.0), (0.0, 0.01), (0.0005, 0.008)])
def test_noise_has_the_variance_of_shot_and_read_noise_at_every_intensity(shot, read):
    for level in (60, 128, 200):
        image = np.full((200, 200, 3), level, np.uint8)
        effects = CameraEffects(shot_noise=shot, read_noise=read)
        light = float(to_linear(np.array(level / 255)))
        found = to_linear(exposed(image, effects) / 255)
        slope = float(to_linear(np.array((level + 1) / 255)) - to_linear(np.array((level - 1) / 255))) / 2
        expected = shot * light + read**2 + slope**2 / 12  # and the rounding to 8 bits
        assert math.isclose(found.var(), expected, rel_tol=0.04)
        assert abs(found.mean() - light) < 4 * math.sqrt(expected / found.size) + 0.03 * expected / light
        noise = (found - light).reshape(-1, 3)
        assert abs(np.corrcoef(noise.T)[0, 1]) < 0.03  # the colours are independent


def test_noise_differs_between_frames_and_repeats_in_one():
    image, effects = np.full((16, 16, 3), 128, np.uint8), CameraEffects(read_noise=0.05)
    np.testing.assert_array_equal(exposed(image, effects), exposed(image, effects))
    assert (exposed(image, effects) != exposed(image, effects, frame=1)).mean() > 0.8


@pytest.mark.parametrize("length", [2.0, 4.0, 7.0])
@pytest.mark.parametrize("along", [0, 1])
def test_blur_widens_an_edge_across_the_motion_as_a_box_of_its_length(length, along):
    edge = np.zeros((40, 40, 3), np.float32)
    edge[:, 20:] = 1
    path = np.zeros((40, 40, 2), np.float32)
    path[..., along] = length
    blurred = motion_blur(edge, path)
    if along == 1:  # motion along the edge
        np.testing.assert_array_equal(blurred, edge)
        return
    slope = np.diff(blurred[20, :, 0])
    place = np.arange(39)
    mean = (slope * place).sum()
    assert math.isclose(slope.sum(), 1, rel_tol=1e-5)
    assert math.isclose(mean, 19, abs_tol=1e-4)  # the blur is centred
    assert math.isclose((slope * (place - mean) ** 2).sum(), length**2 / 12, rel_tol=0.15, abs_tol=0.15)


def test_blur_of_rest_changes_nothing_and_the_shutter_scales_the_motion():
    image = photo()
    motion = np.full((64, 64, 2), 6, np.float32)
    np.testing.assert_array_equal(exposed(image, CameraEffects(shutter=0.5), motion=0 * motion), image)
    np.testing.assert_array_equal(exposed(image, CameraEffects(shutter=0.5), motion=None), image)
    short, long = (exposed(image, CameraEffects(shutter=s), motion=m) for s, m in ((0.25, motion), (0.5, motion / 2)))
    np.testing.assert_array_equal(short, long)
    assert short.std() < 0.7 * image.std()


def test_compression_loses_more_at_lower_quality_and_half_of_the_colours():
    image = cv2.GaussianBlur(photo(), (0, 0), 1.5)
    errors = [np.abs(compress(image, q).astype(int) - image).mean() for q in (98, 80, 20)]
    assert errors[0] < errors[1] < errors[2]
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (200, 60, 60), (60, 60, 200)
    kept = compress(stripes, 100).astype(int)
    assert np.abs(kept[:, ::2, 0] - kept[:, 1::2, 0]).mean() < 60  # of 140: the colours of two columns are one
    stripes[:, ::2], stripes[:, 1::2] = (200, 200, 200), (60, 60, 60)
    kept = compress(stripes, 100).astype(int)
    assert np.abs(kept[:, ::2, 0] - kept[:, 1::2, 0]).mean() > 130  # brightness is not halved
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    np.testing.assert_allclose(compress(flat, 92), flat, atol=3)  # red stays red
    np.testing.assert_array_equal(exposed(flat, CameraEffects(jpeg_quality=92)), compress(flat, 92))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"read_noise": -0.1}, "camera: read_noise is -0.1, it must not be negative"),
        ({"shot_noise": math.nan}, "camera: shot_noise is nan"),
        ({"seed": -1}, "camera: seed is -1"),
        ({"shutter": 1.5}, "camera: shutter is 1.5, it is a fraction of the frame interval"),
        ({"jpeg_quality": 0}, r"camera: jpeg_quality is 0, it must lie in \[1, 100\], or be null"),
        ({"exposure_stops": 0.1}, "camera: exposure_step_stops is 0.0, but with exposure_stops 0.1 it must be above 0"),
        (
            {"white_balance_stops": 0.1, "white_balance_step_stops": 0.2},
            "at most 0.1414, the change between independent",
        ),
        ({"exposure_step_stops": 0.1}, "camera: exposure_step_stops is 0.1, but exposure_stops is 0; set both or none"),
    ],
)
def test_a_wrong_value_is_one_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        CameraEffects(**given)
