"""Rotations and transforms against SciPy, matrix products in float64 and the released Monodepth2."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from geometry.se3 import (
    apply_transform,
    compose_transforms,
    invert_transform,
    matrix_product,
    rotation_angle,
    rotation_from_axis_angle,
    transform_from_axis_angle,
    transform_from_rotation,
)

GOLDEN = Path(__file__).parents[1] / "golden"


def vectors(angles: list[float]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    axes = torch.nn.functional.normalize(torch.randn(len(angles), 3, generator=generator, dtype=torch.float64), dim=1)
    return axes * torch.tensor(angles, dtype=torch.float64)[:, None]


def transforms(n: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    draws = torch.randn(2, n, 3, generator=generator, dtype=torch.float64)
    return transform_from_axis_angle(draws[0], draws[1])


ANGLES = [0.0, 1e-12, 1e-6, 1e-3, 0.1, 0.4999, 0.5, 0.5001, 1.0, 3.0, math.pi, 5.0]


def test_rotations_equal_scipy():
    v = vectors(ANGLES)
    expected = Rotation.from_rotvec(v.numpy()).as_matrix()
    np.testing.assert_allclose(rotation_from_axis_angle(v), expected, rtol=0, atol=2e-15)
    np.testing.assert_allclose(rotation_from_axis_angle(v.float()), expected, rtol=0, atol=1e-6)


def test_transforms_equal_the_released_monodepth2():
    with np.load(GOLDEN / "md2_pose.npz") as golden:
        axis_angle, translation = (torch.from_numpy(golden[k])[:, 0] for k in ("axisangle", "translation"))
        T = transform_from_axis_angle(axis_angle, translation)
        # Its axis is v / (|v| + 1e-7), so that its rotation of 1e-6 rad is short by 1e-7.
        np.testing.assert_allclose(T, golden["T_fwd"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(invert_transform(T), golden["T_inv"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(rotation_from_axis_angle(axis_angle), golden["R"][:, :3, :3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("angle", ANGLES)
def test_gradients_to_the_second_order(angle):
    v = vectors([angle]).requires_grad_()
    assert torch.autograd.gradcheck(rotation_from_axis_angle, v)
    assert torch.autograd.gradgradcheck(rotation_from_axis_angle, v)


def test_gradient_at_zero_is_the_generator_in_single_precision():
    for dtype in (torch.float32, torch.float64):
        jacobian = torch.autograd.functional.jacobian(rotation_from_axis_angle, torch.zeros(3, dtype=dtype))
        # d R / d v_k is the cross product with axis k.
        expected = torch.linalg.cross(torch.eye(3, dtype=dtype)[:, None], torch.eye(3, dtype=dtype)[None])
        assert torch.equal(jacobian, expected.permute(2, 1, 0))


def test_small_rotations_keep_their_digits_in_single_precision():
    v = vectors([0.01, 0.02]).float().requires_grad_()
    weights = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(3))
    (single,) = torch.autograd.grad((rotation_from_axis_angle(v) * weights).sum(), v)
    exact_v = v.detach().double().requires_grad_()
    (exact,) = torch.autograd.grad((rotation_from_axis_angle(exact_v) * weights).sum(), exact_v)
    torch.testing.assert_close(single.double(), exact, rtol=1e-6, atol=1e-6)


def test_inverse_and_composition_equal_matrix_algebra():
    T = transforms()
    torch.testing.assert_close(invert_transform(T), torch.linalg.inv(T))
    torch.testing.assert_close(compose_transforms(T[:2], T[1:]), T[:2] @ T[1:])
    torch.testing.assert_close(compose_transforms(T[:1, None], T[None]), (T[:1, None] @ T[None]))
    first, second = torch.rand(2, 3, 4), torch.rand(4, 5)
    torch.testing.assert_close(matrix_product(first, second), first @ second)


def test_translation_comes_after_rotation():
    quarter = torch.tensor([0.0, 0.0, math.pi / 2])
    T = transform_from_axis_angle(quarter, torch.tensor([10.0, 20.0, 30.0]))
    moved = T @ torch.tensor([1.0, 0.0, 0.0, 1.0])  # x turns onto y
    torch.testing.assert_close(moved, torch.tensor([10.0, 21.0, 30.0, 1.0]))


def test_points_move_as_by_the_matrix():
    T = transforms(2).requires_grad_()
    points = torch.rand(2, 3, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    expected = torch.einsum("bij,bjhw->bihw", T, homogeneous)[:, :3]
    torch.testing.assert_close(apply_transform(T, points), expected)
    assert torch.autograd.gradcheck(apply_transform, (T, points))


def test_angles_of_rotations():
    v = vectors([0.0, 1e-7, 1.0, 3.1, math.pi])
    torch.testing.assert_close(rotation_angle(rotation_from_axis_angle(v)), v.norm(dim=1), rtol=1e-12, atol=1e-12)


def test_autocast_does_not_round():
    T, points = transforms(2).float(), torch.rand(2, 3, 3, 4)

    def everything() -> list[torch.Tensor]:
        made = transform_from_axis_angle(points[:, :, 0, 0], points[:, :, 1, 1])
        return [made, invert_transform(T), compose_transforms(T, made), apply_transform(T, points)]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = everything()
    for a, b in zip(inside, everything(), strict=True):
        assert torch.equal(a, b)
    assert rotation_from_axis_angle(torch.zeros(1, 3).bfloat16()).dtype is torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rotation_from_axis_angle(torch.zeros(2, 4)), r"axis_angle has shape \(2, 4\)"),
        (lambda: transform_from_axis_angle(torch.zeros(2, 3), torch.zeros(3)), r"translation \(3,\)"),
        (lambda: transform_from_rotation(torch.zeros(3, 4), torch.zeros(3)), r"R has shape \(3, 4\)"),
        (lambda: invert_transform(torch.zeros(3, 3)), r"T has shape \(3, 3\)"),
        (lambda: compose_transforms(torch.eye(4), torch.eye(3)), r"T_b_c has shape \(3, 3\)"),
        (lambda: apply_transform(torch.eye(4), torch.zeros(1, 3, 2, 2)), r"T has shape \(4, 4\)"),
        (lambda: rotation_angle(torch.eye(4)), r"R has shape \(4, 4\)"),
    ],
)
def test_bad_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
