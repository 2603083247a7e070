"""Bends and normals of planes against numpy, against what a shift does in closed form, and cuts into batches."""

import numpy as np
import pytest
import torch

from metrics.plane_curvature import PLANE_ERRORS, PlaneErrors, plane_errors, plane_shapes
from metrics.point_cloud import scaled_clouds
from tests.data.make_box_room import BOX_PLANES, box_room
from tests.metrics.test_point_cloud import lift


def rooms(n: int = 3) -> dict[str, torch.Tensor]:
    """Box rooms with exact depth, and a mask with holes."""
    parts = [box_room(yaw=0.3 * i) for i in range(n)]
    target, plane, K = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    holes = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.1
    return {"target_m": target, "mask": ~holes & (target < 9), "K": K, "plane": plane}


def reference(prediction: torch.Tensor, batch: dict[str, torch.Tensor], min_pixels: int = 16) -> np.ndarray:
    """``(B, 4)`` in the order of the names, plane by plane with numpy's solvers."""
    rows = []
    arrays = (prediction, batch["target_m"], batch["mask"], batch["K"], batch["plane"])
    for p, t, m, K, ids in zip(*(a.numpy() for a in arrays), strict=True):
        p, t, m = p[0].astype(float), t[0], m[0]
        p = p * np.median(t[m]) / np.median(p[m])
        numbers, weights = [], []
        for plane in np.unique(ids[ids > 0]):
            inside = m & (ids == plane)
            if inside.sum() < min_pixels:
                continue
            P, G = lift(p, K, inside), lift(t, K, inside)
            normal = np.linalg.svd(P - P.mean(axis=0))[2][2]
            normal = -normal if normal @ P.mean(axis=0) > 0 else normal
            height = (P - P.mean(axis=0)) @ normal
            spread, axes = np.linalg.svd(G - G.mean(axis=0), full_matrices=False)[1:]
            u, v = ((G - G.mean(axis=0)) @ axes[:2].T).T
            design = np.stack([np.ones_like(u), u, v, -(u**2 + v**2) / 2], axis=1)
            curvature = np.linalg.lstsq(design, height, rcond=None)[0][3]
            extent = np.sqrt(12) * spread[0] / np.sqrt(len(G))
            angle = np.degrees(np.arccos(min(1, abs(normal @ axes[2]))))
            bend = np.degrees(curvature * extent)
            numbers.append((np.sqrt((height**2).mean()) / extent, bend, abs(bend), angle))
            weights.append(inside.sum())
        rows.append(np.average(numbers, axis=0, weights=weights))
    return np.array(rows)


def values(errors: dict[str, torch.Tensor]) -> np.ndarray:
    assert tuple(errors) == PLANE_ERRORS
    return torch.stack(list(errors.values()), dim=1).numpy()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_errors_equal_the_reference(dtype):
    batch = rooms()
    generator = torch.Generator().manual_seed(1)
    wrong = 1 + 0.03 * torch.randn(batch["target_m"].shape, generator=generator, dtype=torch.float64)
    prediction = 2.5 * (batch["target_m"] ** 0.8 * wrong + 0.2)
    batch["K"][0, 0, 0] *= 1.3  # pixels that are no squares
    errors = plane_errors(prediction.to(dtype), **batch, min_share=0.0)
    expected = reference(prediction, batch)
    np.testing.assert_allclose(values(errors), expected, rtol=1e-7 if dtype is torch.float64 else 2e-3)
    assert (np.abs(expected) > (5e-3, 0.2, 0.5, 2)).all()


def test_exact_depth_of_any_scale_is_flat_and_not_turned():
    batch = rooms()
    for scale in (0.01, 1.0, 30.0):
        np.testing.assert_allclose(values(plane_errors(scale * batch["target_m"], **batch)), 0, atol=2e-6)


@pytest.mark.parametrize("shift", [0.5, 0.1, -0.1, -0.4])
def test_a_constant_added_to_depth_bends_planes_by_the_closed_form(shift):
    batch = rooms(1) | {"plane": box_room(yaw=0.0)[1]}
    batch["target_m"] = box_room(yaw=0.0)[0]
    batch["mask"] = batch["target_m"] < 9
    # The median is brought back to that of the truth, which scales the prediction.
    clouds = scaled_clouds(batch["target_m"] + shift, target_m=batch["target_m"], mask=batch["mask"], K=batch["K"])
    shapes = plane_shapes(clouds, batch["plane"])
    assert shapes.ids.tolist() == [1, 2, 3, 4, 5]
    scale = (clouds.points[0, 2] / (batch["target_m"][0, 0] + shift))[0, 0].item()
    for row, plane in enumerate(BOX_PLANES[:4]):
        # (D + s) K^-1 (x, y, 1) lies outwards of its plane by s d / z, z the true depth and d the plane's distance.
        inside = (batch["plane"] == row + 1)[0] & batch["mask"][0, 0]
        z = batch["target_m"][0, 0][inside].numpy()
        truth = lift(batch["target_m"][0, 0].numpy(), batch["K"][0].numpy(), inside.numpy())
        outwards = shift / np.linalg.norm(plane) / z
        position = np.delete(truth, int(np.argmax(np.abs(plane))), axis=1)
        position = position - position.mean(axis=0)
        design = np.column_stack([np.ones(len(z)), position, (position**2).sum(axis=1) / 2])
        curvature = np.linalg.lstsq(design, outwards, rcond=None)[0][3] * scale
        # The predicted plane is turned, and heights over it are shorter by the cosine of that.
        turned = np.cos(shapes.normal_angle[row].item())
        assert shapes.curvature_per_m[row].item() == pytest.approx(curvature * turned, rel=0.02)
        assert np.sign(curvature) == np.sign(shift)
        assert shapes.normal_angle[row] > 1e-3
    # A wall parallel to the image only moves away.
    assert shapes.rms_m[4].item() == pytest.approx(0, abs=1e-6)
    assert shapes.curvature_per_m[4].item() == pytest.approx(0, abs=1e-6)
    errors = plane_errors(batch["target_m"] + shift, **batch)
    assert np.sign(errors["plane_bend_deg"].item()) == np.sign(shift)
    assert errors["plane_bend_abs_deg"].item() == pytest.approx(abs(errors["plane_bend_deg"].item()))


def test_a_shift_of_disparity_and_a_wrong_focal_length_turn_planes_and_do_not_bend_them():
    batch = rooms()
    disparity = plane_errors(1 / (1 / batch["target_m"] + 0.05), **batch)
    focal = plane_errors(batch["target_m"], **batch, prediction_K=batch["K"] * torch.tensor([1.2, 1.2, 1]).view(3, 1))
    for errors in (disparity, focal):
        np.testing.assert_allclose(values(errors)[:, :3], 0, atol=1e-6)
        assert (errors["plane_normal_deg"] > 1).all()


def test_a_known_bulge_has_the_curvature_of_its_sphere():
    # A wall at 5 m whose middle comes towards the camera like a sphere of 20 m radius.
    target = torch.full((1, 1, 40, 40), 5.0, dtype=torch.float64)
    K = torch.tensor([[[40.0, 0, 20], [0, 40, 20], [0, 0, 1]]], dtype=torch.float64)
    x = (torch.arange(40, dtype=torch.float64) + 0.5 - 20) / 40 * 5
    bulge = 0.1 - (x.view(-1, 1).square() + x.square()) / 40
    median = (5 - bulge).flatten().quantile(0.5)
    clouds = scaled_clouds(5 - bulge.view(1, 1, 40, 40), target_m=target, mask=target > 0, K=K)
    shapes = plane_shapes(clouds, torch.ones(1, 40, 40, dtype=torch.int64))
    assert shapes.curvature_per_m.item() == pytest.approx(5 / median.item() / 20, rel=1e-3)
    side = 5.0 * np.sqrt(1 - 1 / 40**2)  # of 40 evenly spaced positions
    assert shapes.extent_m.item() == pytest.approx(side, rel=1e-9)


def test_noise_alone_bends_in_no_direction():
    batch = rooms(1)
    generator = torch.Generator().manual_seed(0)
    bends = []
    for _ in range(40):
        noise = torch.randn(batch["target_m"].shape, generator=generator, dtype=torch.float64)
        bends.append(plane_errors(batch["target_m"] * (1 + 0.03 * noise), **batch)["plane_bend_deg"].item())
    assert abs(np.mean(bends)) < 3 * np.std(bends) / np.sqrt(40)


def test_only_planes_of_some_size_count():
    batch = rooms(1)
    prediction = batch["target_m"] + 0.3
    expected = plane_errors(prediction, **batch, min_share=0.0)
    batch["plane"][0, 3, 3:8] = 40  # 5 pixels
    few = plane_errors(prediction, **batch, min_share=0.0)
    np.testing.assert_allclose(values(few), values(expected), rtol=0.05)
    one_row = torch.zeros_like(batch["plane"])
    one_row[0, 12] = 7
    batch["mask"][...] = True
    row = plane_errors(prediction, **(batch | {"plane": one_row}), min_share=0.0)
    assert all(value.isfinite().all() for value in row.values())
    for share, plane in ((1.0, batch["plane"]), (0.01, torch.zeros_like(one_row))):
        assert np.isnan(values(plane_errors(prediction, **(batch | {"plane": plane}), min_share=share))).all()


def test_a_nan_stays_visible_in_its_image_alone():
    batch = rooms()
    prediction = batch["target_m"] + 0.3
    expected = values(plane_errors(prediction, **batch))
    batch["mask"][1, 0, 12, 16] = True
    prediction[1, 0, 12, 16] = torch.nan
    found = values(plane_errors(prediction, **batch))
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]])


def test_uneven_batches_equal_one():
    batch = rooms(6)
    batch["mask"][2] = False
    prediction = batch["target_m"] + 0.3
    expected = {name: value.nanmean() for name, value in plane_errors(prediction, **batch).items()}
    metric = PlaneErrors()
    for start, stop in ((0, 1), (1, 3), (3, 6)):
        metric.update(prediction[start:stop], **{key: value[start:stop] for key, value in batch.items()})
    torch.testing.assert_close(metric.compute(), expected)


def test_bad_arguments_are_named():
    batch = rooms(1)
    with pytest.raises(ValueError, match=r"regions are torch\.float64"):
        plane_errors(batch["target_m"], **(batch | {"plane": batch["plane"].double()}))
    with pytest.raises(ValueError, match=r"min_share is 1\.5"):
        plane_errors(batch["target_m"], **batch, min_share=1.5)
    with pytest.raises(ValueError, match=r"min_share is -0\.1"):
        PlaneErrors(min_share=-0.1)
