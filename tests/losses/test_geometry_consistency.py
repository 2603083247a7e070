"""SC-Depth's consistency of two views against the released code, and properties known by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from geometry.stencils import masked_mean
from losses.geometry_consistency import ViewErrors, best_view, geometry_consistency

GOLDEN = Path(__file__).parents[1] / "golden" / "sc_pairwise_loss.npz"


def rotation_of_released_code(angles: torch.Tensor) -> torch.Tensor:
    """``Rx Ry Rz`` of Euler angles ``(B, 3)``."""
    rotation = torch.eye(3).expand(len(angles), 3, 3)
    for axis in range(3):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3).repeat(len(angles), 1, 1)
        cosine, sine = angles[:, axis].cos(), angles[:, axis].sin()
        turn[:, i, i], turn[:, i, j], turn[:, j, i], turn[:, j, j] = cosine, -sine, sine, cosine
        rotation = rotation @ turn
    return rotation


def released_warp(golden):
    """The released warp: integer pixel centres, and a grid scaled by W - 1 but sampled with ``align_corners=False``."""
    depth, K, pose = golden["tgt_depth"], golden["K"], golden["pose"]
    height, width = depth.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)]).view(1, 3, -1)
    points = torch.linalg.inv(K) @ pixels * depth.flatten(2)
    moved = K @ (rotation_of_released_code(pose[:, 3:]) @ points + pose[:, :3, None])
    projected = moved[:, 2:].clamp(min=1e-3)
    size = torch.tensor([width - 1, height - 1]).view(1, 2, 1)
    grid = (2 * moved[:, :2] / projected / size - 1).transpose(1, 2).unflatten(1, (height, width))
    image, sampled = (F.grid_sample(golden[k], grid, align_corners=False) for k in ("ref_img", "ref_depth"))
    visible = (golden["tgt_img"].abs().mean(1, True) > 1e-3) & (image.abs().mean(1, True) > 1e-3)
    return image, projected.view_as(depth), sampled, visible


def golden_errors(**options):
    with np.load(GOLDEN) as file:
        golden = {name: torch.from_numpy(file[name]) for name in file.files}
    image, projected, sampled, visible = released_warp(golden)
    errors = geometry_consistency(
        image.unsqueeze(1),
        target=golden["tgt_img"],
        sources=golden["ref_img"].unsqueeze(1),
        projected_depth_m=projected.unsqueeze(1),
        sampled_depth_m=sampled.unsqueeze(1),
        valid=visible.unsqueeze(1),
        **options,
    )
    return golden, errors, visible


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("default", {}),
        ("nossim", {"ssim_weight": 0.0}),
        ("noauto", {"auto_mask": False}),
        ("nodyn", {"weight_mask": False}),
    ],
)
def test_equals_the_released_sc_depth(variant, options):
    golden, errors, visible = golden_errors(**options)
    np.testing.assert_allclose(errors.color, golden["diff_color"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(errors.depth[visible], golden["diff_depth"][visible], rtol=1e-4, atol=4e-5)
    np.testing.assert_allclose(
        errors.photometric[visible], golden[f"{variant}_diff_img"][visible], rtol=1e-4, atol=2e-5
    )
    if f"{variant}_valid" in golden:
        assert torch.equal(errors.mask, golden[f"{variant}_valid"].bool())
    photometric, geometric = best_view_means(errors)
    np.testing.assert_allclose(photometric, golden[f"{variant}_photo_mean"], rtol=1e-4)
    np.testing.assert_allclose(geometric, golden[f"{variant}_geom_mean"], rtol=1e-4)


def best_view_means(errors):
    best = best_view(errors)
    return tuple(masked_mean(values, best.mask) for values in (best.photometric, best.depth))


def scene(dtype=torch.float64, n_sources=2):
    generator = torch.Generator().manual_seed(0)
    warped, sources = torch.rand(2, 2, n_sources, 3, 8, 9, generator=generator, dtype=dtype)
    target = torch.rand(2, 3, 8, 9, generator=generator, dtype=dtype)
    projected, sampled = 1 + torch.rand(2, 2, n_sources, 1, 8, 9, generator=generator, dtype=dtype)
    valid = torch.rand(2, n_sources, 1, 8, 9, generator=generator) > 0.3
    return {
        "warped": warped,
        "target": target,
        "sources": sources,
        "projected_depth_m": projected,
        "sampled_depth_m": sampled,
        "valid": valid,
    }


def test_depth_error_of_known_depths():
    fields = scene()
    fields["projected_depth_m"] = torch.full_like(fields["projected_depth_m"], 3.0)
    fields["sampled_depth_m"] = torch.full_like(fields["sampled_depth_m"], 1.0)
    fields["valid"] = torch.ones_like(fields["valid"])
    errors = geometry_consistency(**fields)
    assert errors.depth.eq(0.5).all()
    unweighted = geometry_consistency(**fields, weight_mask=False)
    torch.testing.assert_close(errors.photometric, unweighted.photometric / 2)


def test_the_weight_gives_no_gradient():
    fields = scene()
    fields["projected_depth_m"].requires_grad_()
    fields["sampled_depth_m"].requires_grad_()
    fields["warped"].requires_grad_()
    errors = geometry_consistency(**fields)
    depths = [fields["projected_depth_m"], fields["sampled_depth_m"]]
    assert torch.autograd.grad(errors.photometric.sum(), depths, allow_unused=True, retain_graph=True) == (None, None)
    assert torch.autograd.grad(errors.depth.sum(), fields["warped"], allow_unused=True, retain_graph=True) == (None,)
    for gradient in torch.autograd.grad(errors.depth.sum(), depths):
        assert gradient[fields["valid"]].ne(0).all()
        assert gradient[~fields["valid"]].eq(0).all()


def test_gradcheck():
    fields = scene(n_sources=2)
    fields["valid"][0, :, :, :2] = False

    def means(warped, projected, sampled):
        changed = {"warped": warped, "projected_depth_m": projected, "sampled_depth_m": sampled}
        # The mask of the weight is a constant of the step, which finite differences cannot know.
        return best_view_means(geometry_consistency(**(fields | changed), weight_mask=False))

    inputs = [fields[k].requires_grad_() for k in ("warped", "projected_depth_m", "sampled_depth_m")]
    assert torch.autograd.gradcheck(means, inputs)


def test_nothing_outside_of_the_mask_reaches_the_result():
    fields = scene()
    expected = best_view_means(geometry_consistency(**fields))
    for name in ("projected_depth_m", "sampled_depth_m"):
        fields[name] = torch.where(fields[name].isfinite() & fields["valid"], fields[name], float("nan"))
        fields[name].requires_grad_()
    errors = geometry_consistency(**fields)
    found = best_view_means(errors)
    torch.testing.assert_close(found, expected)
    found[1].backward()
    assert fields["projected_depth_m"].grad.isfinite().all()


def test_auto_mask_leaves_out_what_no_motion_explains_as_well():
    fields = scene()
    fields["valid"] = torch.ones_like(fields["valid"])
    fields["sources"] = fields["warped"].clone()
    fields["sources"][:, 1] = fields["target"] + 2
    errors = geometry_consistency(**fields)
    assert not errors.mask[:, 0].any()
    assert errors.mask[:, 1].all()
    assert geometry_consistency(**fields, auto_mask=False).mask.all()


def test_best_view_is_chosen_among_the_masked():
    color = torch.tensor([[0.1, 0.5, 0.3, 0.1], [0.2, 0.4, 0.1, 0.1]]).view(1, 2, 1, 4)
    mask = torch.tensor([[False, True, True, False], [True, True, True, False]]).view(1, 2, 1, 4)
    photometric = torch.tensor([[10.0, 20.0, 30.0, 40.0], [1.0, 2.0, 3.0, 4.0]]).view(1, 2, 1, 4).requires_grad_()
    depth = photometric.detach() / 100
    found = best_view_means(ViewErrors(photometric, color, depth, mask))
    found[0].backward()
    assert found[0].item() == pytest.approx((1 + 2 + 3) / 3)
    assert found[1].item() == pytest.approx((1 + 2 + 3) / 300)
    assert photometric.grad[0, 0, 0].tolist() == [0, 0, 0, 0]
    assert photometric.grad[0, 1, 0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    best = best_view(ViewErrors(photometric, color, depth, mask))
    assert best.mask.tolist() == [[[True, True, True, False]]]
    assert best.photometric.tolist() == [[[1, 2, 3, 0]]]
    empty = best_view_means(ViewErrors(photometric, color, depth, torch.zeros_like(mask)))
    assert empty[0].item() == 0
    assert empty[0].requires_grad


def test_half_precision_is_raised():
    fields = scene(torch.float32)
    half = {k: v if v.dtype is torch.bool else v.bfloat16() for k, v in fields.items()}
    back = {k: v if v.dtype is torch.bool else v.float() for k, v in half.items()}
    ours, expected = geometry_consistency(**half), geometry_consistency(**back)
    assert ours.photometric.dtype is torch.float32
    torch.testing.assert_close(ours.photometric, expected.photometric)
    torch.testing.assert_close(ours.depth, expected.depth)


def test_bad_input_is_named():
    fields = scene()
    with pytest.raises(ValueError, match="warped, sources and target"):
        geometry_consistency(**(fields | {"sources": fields["sources"][:, :1]}))
    with pytest.raises(ValueError, match=r"sampled_depth_m has the shape \(2, 1, 1, 8, 9\)"):
        geometry_consistency(**(fields | {"sampled_depth_m": fields["sampled_depth_m"][:, :1]}))
    with pytest.raises(ValueError, match=r"valid has type torch\.float64"):
        geometry_consistency(**(fields | {"valid": fields["valid"].double()}))
    with pytest.raises(ValueError, match="ssim_weight is -1"):
        geometry_consistency(**fields, ssim_weight=-1)
