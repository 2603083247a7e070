"""Ray caster against a slow, independent reference."""

from __future__ import annotations

import numpy as np
import pytest

from datamodules.rooms.caster import first_hits
from datamodules.rooms.intersect import surface
from datamodules.rooms.trajectory import look
from datamodules.rooms.visibility import sample_visibility
from tests.datamodules.rooms.reference import LIGHT, pixel_rays, reference_hits, small_scene

K = np.array([[70.0, 0.0, 48.0], [0.0, 70.0, 36.0], [0.0, 0.0, 1.0]])
POSES = [
    look((2.0, 0.5, 1.4), 1.6, -0.25, 0.03),
    look((0.6, 0.8, 1.1), 1.1, -0.1, -0.05),
    look((3.6, 0.6, 1.6), 2.25, -0.3, 0.0),
]


@pytest.mark.parametrize("pose", POSES)
def test_depth_and_primitive_equal_the_reference(pose: np.ndarray) -> None:
    depth, primitive, _ = first_hits(small_scene(), pose, K, 72, 96)
    expected, which = reference_hits(pose[:3, 3], pixel_rays(pose, K, 72, 96))
    assert len(np.unique(which)) >= 5  # every kind of primitive is in view
    # On silhouettes the two formulas may fall to different sides of a tie.
    same = primitive.ravel() == which
    assert np.mean(same) > 0.9995
    np.testing.assert_allclose(depth.ravel()[same], expected[same], rtol=1e-9, atol=1e-9)


def test_normals_match_neighbouring_hits() -> None:
    scene, pose = small_scene(), POSES[0]
    depth, primitive, face = first_hits(scene, pose, K, 72, 96)
    points = pose[:3, 3] + depth[..., None] * pixel_rays(pose, K, 72, 96).reshape(72, 96, 3)
    checked = set()
    for y in range(1, 71):
        for x in range(1, 95):
            i, f = primitive[y, x], face[y, x]
            window = np.s_[y - 1 : y + 2, x - 1 : x + 2]
            if not ((primitive[window] == i) & (face[window] == f)).all():
                continue
            normal = np.array(surface(scene.render.geometry, i, f, *points[y, x])[:3])
            numeric = np.cross(points[y, x + 1] - points[y, x - 1], points[y - 1, x] - points[y + 1, x])
            numeric /= np.linalg.norm(numeric)
            # The numeric normal is taken towards the camera, as the analytic one is on visible surfaces.
            assert np.dot(numeric, normal) > (0.999999 if i < 3 else 0.9)
            checked.add(int(i))
    assert checked >= {0, 1, 2, 3}


def test_point_light_is_occluded_as_in_the_reference() -> None:
    scene, pose = small_scene(), POSES[0]
    depth, primitive, face = first_hits(scene, pose, K, 72, 96)
    seen = sample_visibility(scene.render, pose, K, depth, primitive, face)[..., 0].ravel()
    points = pose[:3, 3] + depth.reshape(-1, 1) * pixel_rays(pose, K, 72, 96)
    normals = np.array([
        surface(scene.render.geometry, i, f, *p)[:3]
        for i, f, p in zip(primitive.ravel(), face.ravel(), points, strict=True)
    ])  # fmt: skip
    to_light = np.array(LIGHT) - points
    t, _ = reference_hits(points + 2e-3 * normals, to_light - 2e-3 * normals, room=False)
    facing = np.sum(to_light * normals, axis=1) > 0.0
    assert 0.05 < np.mean(t[facing] < 1.0) < 0.6
    assert np.mean((seen < 0.5)[facing] == (t < 1.0)[facing]) > 0.9995
