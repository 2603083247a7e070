import cv2
import numpy as np
import pytest
import torch

from renderers.display import (
    INVALID_GREY,
    categorical,
    colorize,
    depth_range,
    error_map,
    magma,
    normal_map,
    scalar_map,
    to_uint8,
)


def opencv_magma() -> np.ndarray:
    """The 256 colours of magma as another library has them, RGB in [0, 1]."""
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_MAGMA)[:, 0, ::-1] / 255


def test_magma_equals_opencv_within_three_levels():
    colours = magma(torch.linspace(0, 1, 256).view(1, 1, 1, 256))[0, :, 0].T.numpy()
    assert np.abs(colours - opencv_magma()).max() < 3 / 255


@pytest.mark.parametrize(
    ("scale", "depth_m", "position"),
    [
        ("log", 1.0, 1.0),
        ("log", 2.0, 2 / 3),  # log(8/2) / log(8)
        ("log", 8.0, 0.0),
        ("inverse", 2.0, 3 / 7),  # (1/2 - 1/8) / (1 - 1/8)
        ("inverse", 4.0, 1 / 7),
        ("log", 0.1, 1.0),  # nearer than near
        ("inverse", 99.0, 0.0),  # farther than far
    ],
)
def test_colorize_puts_a_depth_at_its_position_on_the_map(scale, depth_m, position):
    colour = colorize(torch.full((1, 1, 1, 1), depth_m), near_m=1.0, far_m=8.0, scale=scale)[0, :, 0, 0]
    expected = [np.interp(position * 255, np.arange(256), opencv_magma()[:, channel]) for channel in range(3)]
    np.testing.assert_allclose(colour.numpy(), expected, atol=3 / 255)


def test_colorize_paints_what_is_invalid_grey():
    depth = torch.tensor([0.0, -1.0, float("nan"), float("inf"), 2.0, 2.0]).view(1, 1, 1, 6)
    mask = torch.tensor([True, True, True, True, False, True]).view(1, 1, 1, 6)
    colours = colorize(depth, mask=mask, near_m=1.0, far_m=3.0)
    assert torch.isfinite(colours).all()
    assert (colours[..., :5] == INVALID_GREY).all()
    assert not (colours[..., 5] == INVALID_GREY).any()


def test_colorize_takes_a_range_for_each_sample_and_survives_a_flat_wall():
    depth = torch.full((2, 1, 1, 1), 3.0)
    near, far = torch.tensor([3.0, 1.0]), torch.tensor([3.0, 3.0])
    colours = colorize(depth, near_m=near, far_m=far)
    alone = [colorize(depth[:1], near_m=float(n), far_m=float(f)) for n, f in zip(near, far, strict=True)]
    assert torch.equal(colours, torch.cat(alone))


@pytest.mark.parametrize(("near_m", "far_m"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_colorize_rejects_an_impossible_range(near_m, far_m):
    with pytest.raises(ValueError, match="near_m"):
        colorize(torch.ones(1, 1, 2, 2), near_m=near_m, far_m=far_m)


def test_depth_range_is_numpys_quantile_of_the_valid_pixels():
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(2, 1, 30, 40, generator=generator) * 5
    mask = torch.rand(2, 1, 30, 40, generator=generator) > 0.3
    depth[0, 0, 0] = torch.nan
    near, far = depth_range(depth, mask=mask, quantile=0.1)
    for index in range(2):
        values = depth[index][mask[index]].numpy()
        values = values[np.isfinite(values) & (values > 0)]
        np.testing.assert_allclose([near[index], far[index]], np.quantile(values, [0.1, 0.9]), rtol=1e-5)


def test_depth_range_of_nothing_is_usable():
    near, far = depth_range(torch.zeros(1, 1, 4, 4))
    assert 0 < near < far


@pytest.mark.parametrize(("value", "position"), [(2.0, 0.0), (3.0, 0.25), (6.0, 1.0), (-5.0, 0.0), (99.0, 1.0)])
def test_scalar_map_puts_a_value_at_its_position_on_the_map(value, position):
    colour = scalar_map(torch.full((1, 1, 1, 1), value), low=2.0, high=6.0)[0, :, 0, 0]
    expected = [np.interp(position * 255, np.arange(256), opencv_magma()[:, channel]) for channel in range(3)]
    np.testing.assert_allclose(colour.numpy(), expected, atol=3 / 255)


def test_scalar_map_takes_bools_and_paints_what_is_invalid_grey():
    values = torch.tensor([0.0, 1.0, float("nan"), float("inf"), 0.5]).view(1, 1, 1, 5)
    mask = torch.tensor([True, True, True, True, False]).view(1, 1, 1, 5)
    colours = scalar_map(values, mask=mask)
    assert (colours[..., 2:] == INVALID_GREY).all()
    assert torch.equal(colours[..., :2], scalar_map(torch.tensor([False, True]).view(1, 1, 1, 2)))
    assert torch.equal(colours[..., :2], magma(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)))


def test_categories_have_colours_of_their_own_that_do_not_depend_on_the_picture():
    ids = torch.arange(64).view(1, 8, 8)
    colours = categorical(ids, ignored=None)
    flat = colours[0].flatten(1).T
    distances = torch.cdist(flat, flat) + torch.eye(64)
    assert distances.min() > 0.03  # eight levels of 255
    neighbours = (flat[1:] - flat[:-1]).norm(dim=1)
    assert neighbours.min() > 0.5
    assert flat.min() >= 0
    assert flat.max() <= 1
    assert (flat.std(dim=1) > 0.05).all()  # none is the grey of no id
    assert torch.equal(categorical(ids[:, 2:3], ignored=None), colours[:, :, 2:3])
    assert torch.equal(categorical(ids + 64, ignored=None), colours)


def test_pixels_without_an_id_are_grey():
    ids = torch.tensor([[[0, 1, 2, -1]]])
    mask = torch.tensor([[[[True, True, False, True]]]])
    colours = categorical(ids, mask=mask)
    grey = (colours == INVALID_GREY).all(dim=1)
    assert grey.tolist() == [[[True, False, True, False]]]
    assert torch.equal(categorical(ids, ignored=-1) == INVALID_GREY, (ids == -1).unsqueeze(1).expand(1, 3, 1, 4))


def test_normals_are_red_to_the_right_green_upwards_and_blue_towards_the_viewer():
    # Walls ahead, on the left (it faces right) and right, floor (it faces up), ceiling, nothing, not a number.
    away = torch.tensor([[0, 0, 1.0], [-1, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 0], [0, float("nan"), 1]])
    colours = normal_map(away.T.view(1, 3, 1, 7))[0, :, 0].T
    assert colours[:5].tolist() == [[0.5, 0.5, 1], [1, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0, 0.5]]
    assert (colours[5:] == INVALID_GREY).all()
    masked = normal_map(away.T.view(1, 3, 1, 7), mask=torch.zeros(1, 1, 1, 7, dtype=torch.bool))
    assert (masked == INVALID_GREY).all()


def test_wrong_maps_are_named():
    with pytest.raises(ValueError, match=r"values has shape \(1, 2, 2\)"):
        scalar_map(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match=r"low=1.0 and high=1.0"):
        scalar_map(torch.zeros(1, 1, 2, 2), low=1.0)
    with pytest.raises(ValueError, match=r"ids are torch\.float32 of shape \(1, 2, 2\)"):
        categorical(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match=r"ids are torch\.int64 of shape \(1, 1, 2, 2\)"):
        categorical(torch.zeros(1, 1, 2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"normals have shape \(1, 1, 2, 2\)"):
        normal_map(torch.zeros(1, 1, 2, 2))


def test_error_map_is_white_red_blue_and_grey():
    target = torch.full((1, 1, 1, 6), 2.0)
    prediction = torch.tensor([2.0, 3.0, 1.0, 9.0, 2.5, 2.0]).view(1, 1, 1, 6)
    mask = torch.tensor([True, True, True, True, True, False]).view(1, 1, 1, 6)
    right, far, near, farther, half, unknown = error_map(prediction, target=target, mask=mask)[0, :, 0].T
    assert right.tolist() == [1, 1, 1]
    assert far[0] > 0.5 > far[2]
    assert near[2] > 0.5 > near[0]
    assert torch.equal(far, farther)  # both at or beyond a relative error of 0.5
    torch.testing.assert_close(half, (right + far) / 2)  # 0.25 is half way from white to full red
    assert (unknown == INVALID_GREY).all()


def test_pictures_become_bytes():
    picture = to_uint8(torch.full((3, 5, 7), 0.5))
    assert picture.shape == (5, 7, 3)
    assert picture.dtype == torch.uint8
    assert (picture == 128).all()  # 127.5 rounds to even
    assert to_uint8(torch.tensor([-1.0, 0.0, 2.0]).view(3, 1, 1)).flatten().tolist() == [0, 0, 255]
