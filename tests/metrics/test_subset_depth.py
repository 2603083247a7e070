"""Errors on subsets against numpy, one image at a time; their bond to the errors of whole images; uneven batches."""

import pickle

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from metrics.depth import depth_errors
from metrics.subset_depth import SUBSETS, SubsetDepthErrors, subset_depth_errors
from tests.data.depth_errors_reference import edges_of, window
from tests.data.make_depth_blocks import depth_blocks

HEIGHT, WIDTH = 24, 32


def sample(n: int = 6, seed: int = 0) -> dict:
    """Blocks of depth 0.5 to 11 m, a noisy prediction of another scale, holes that hold NaN, and subsets.

    Image 1 has no valid pixel, image 2 has 15 thin ones and image 3 just 20.
    """
    target, noise, mask, generator = depth_blocks(n, HEIGHT, WIDTH, seed)
    plain = torch.rand(target.shape, generator=generator) > 0.4
    thin = torch.rand(target.shape, generator=generator) > 0.9
    countable = mask & (target <= 9.0) & (target >= 0.6)
    for image, count in ((2, 15), (3, 20)):
        thin[image] = False
        rows, columns = torch.nonzero(countable[image, 0], as_tuple=True)
        thin[image, 0, rows[:count], columns[:count]] = True
    return {
        "prediction_m": (0.4 * target * (0.7 + 0.6 * noise)).masked_fill(~mask, float("inf")),
        "target_m": target.masked_fill(~mask, float("nan")),
        "mask": mask,
        "subsets": {"plain": plain, "thin": thin},
    }


def cut(data: dict, start: int, stop: int) -> dict:
    subsets = {name: value[start:stop] for name, value in data["subsets"].items()}
    return {name: value[start:stop] for name, value in data.items() if name != "subsets"} | {"subsets": subsets}


def reference(data: dict, name: str, *, crop=None, low=0.6, high=9.0, min_pixels=20, boundary_px=2.0) -> np.ndarray:
    """Mean AbsRel and delta1 of the images that count for a subset, written for one image at a time."""
    rows = []
    for i in range(len(data["mask"])):
        g, p, measured = (data[key][i, 0].numpy() for key in ("target_m", "prediction_m", "mask"))
        with np.errstate(invalid="ignore"):
            valid = measured & (g >= low) & (g <= high) & window(g.shape, crop)
        if not valid.any():
            continue
        p = np.clip(p.astype(np.float64) * (np.median(g[valid]) / np.median(p[valid])), low, high)
        if name == "boundary":
            edges = edges_of(np.where(valid, g, 1).astype(np.float64), valid)
            part = distance_transform_edt(~edges) <= boundary_px if edges.any() else np.zeros_like(valid)
        elif name == "textured":
            part = ~data["subsets"]["plain"][i, 0].numpy()
        else:
            part = data["subsets"][name][i, 0].numpy()
        part = part & valid
        if part.sum() >= min_pixels:
            ratio = np.maximum(p[part] / g[part], g[part] / p[part])
            rows.append((np.mean(np.abs(p[part] - g[part]) / g[part]), np.mean(ratio < 1.25)))
    return np.mean(rows, axis=0) if rows else np.full(2, np.nan)


@pytest.mark.parametrize("crop", [None, (0.25, 0.75, 0.125, 1.0)])
@pytest.mark.parametrize("name", ["plain", "textured", "thin", "boundary"])
def test_a_subset_equals_the_reference(name, crop):
    data = sample()
    ours = subset_depth_errors(**data, min_depth_m=0.6, max_depth_m=9.0, crop=crop)
    expected = reference(data, name, crop=crop)
    assert np.isfinite(expected).all()
    found = [ours[f"{error}_{name}_img_median"].item() for error in ("abs_rel", "delta1")]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_names_carry_error_subset_average_and_alignment():
    errors = subset_depth_errors(**sample(), alignment="least_squares")
    assert list(errors) == [f"{error}_{name}_img_lsq" for name in SUBSETS for error in ("abs_rel", "delta1")]
    data = sample()
    data["subsets"] = {"camouflaged": data["mask"]}
    errors = subset_depth_errors(**data, names=("camouflaged",), alignment="none")
    assert list(errors) == ["abs_rel_camouflaged_img", "delta1_camouflaged_img"]


@pytest.mark.parametrize(("alignment", "suffix"), [("none", ""), ("median", "_median"), ("least_squares", "_lsq")])
def test_the_subset_of_all_pixels_has_the_errors_of_the_image(alignment, suffix):
    data = sample()
    whole = {name: data[name] for name in ("prediction_m", "target_m", "mask")}
    options = {"alignment": alignment, "min_depth_m": 0.6, "max_depth_m": 9.0}
    expected = depth_errors(**whole, depth_scale_m=torch.ones(6), edges=False, **options)
    ours = subset_depth_errors(
        **whole, subsets={"all": torch.ones_like(data["mask"])}, names=("all",), min_pixels=1, **options
    )
    for error in ("abs_rel", "delta1"):
        torch.testing.assert_close(ours[f"{error}_all_img{suffix}"], expected[f"{error}_img{suffix}"])


def test_the_scale_comes_from_all_pixels_and_not_from_the_subset():
    target = torch.full((1, 1, 8, 8), 2.0)
    prediction = target / 2
    prediction[..., :2] *= 1.5  # a quarter of the image, and all of the subset, is half as far again
    part = torch.zeros_like(target, dtype=torch.bool)
    part[..., :2] = True
    errors = subset_depth_errors(
        prediction,
        target_m=target,
        mask=target > 0,
        subsets={"plain": part},
        names=("plain", "textured"),
        min_pixels=16,
    )
    assert errors["abs_rel_plain_img_median"].item() == pytest.approx(0.5)
    assert errors["delta1_plain_img_median"].item() == 0
    assert errors["abs_rel_textured_img_median"].item() == 0
    assert errors["delta1_textured_img_median"].item() == 1


def test_the_boundary_is_a_band_around_the_nearer_side_of_a_jump():
    target = torch.full((1, 1, 12, 40), 2.0)
    target[..., 28:] = 4.0  # edge pixels are those of column 27; the median is that of the nearer side
    mask = target > 0
    for boundary_px, columns in ((1.0, range(26, 29)), (3.0, range(24, 31))):
        prediction = target.clone()
        prediction[..., list(columns)] *= 1.1
        errors = subset_depth_errors(
            prediction, target_m=target, mask=mask, subsets={}, names=("boundary",), boundary_px=boundary_px
        )
        assert errors["abs_rel_boundary_img_median"].item() == pytest.approx(0.1, rel=1e-5)
        prediction[..., list(columns)] = target[..., list(columns)]  # right in the band, wrong beside it
        prediction[..., [columns[0] - 1, columns[-1] + 1]] *= 1.1
        errors = subset_depth_errors(
            prediction, target_m=target, mask=mask, subsets={}, names=("boundary",), boundary_px=boundary_px
        )
        assert errors["abs_rel_boundary_img_median"].item() == 0
    flat = torch.full_like(target, 2.0)
    errors = subset_depth_errors(flat, target_m=flat, mask=mask, subsets={}, names=("boundary",), min_pixels=1)
    assert errors["abs_rel_boundary_img_median"].isnan()


def test_a_given_mask_is_taken_instead_of_a_derived_one():
    data = sample()
    data["subsets"]["textured"] = data["subsets"]["thin"]
    errors = subset_depth_errors(**data)
    assert errors["abs_rel_textured_img_median"] == errors["abs_rel_thin_img_median"]
    assert errors["abs_rel_textured_img_median"].isfinite()


def test_images_with_too_few_pixels_do_not_count():
    data = sample()
    options = {"min_depth_m": 0.6, "max_depth_m": 9.0, "names": ("thin",)}
    assert subset_depth_errors(**cut(data, 2, 3), **options)["abs_rel_thin_img_median"].isnan()
    assert subset_depth_errors(**cut(data, 2, 3), **options, min_pixels=15)["abs_rel_thin_img_median"].isfinite()
    assert subset_depth_errors(**cut(data, 3, 4), **options)["abs_rel_thin_img_median"].isfinite()
    assert subset_depth_errors(**cut(data, 3, 4), **options, min_pixels=21)["abs_rel_thin_img_median"].isnan()


def test_a_subset_that_the_data_lack_is_nan():
    data = sample()
    data["subsets"] = {}
    errors = subset_depth_errors(**data)
    for name, value in errors.items():
        assert value.isfinite() if "boundary" in name else value.isnan(), name


def test_uneven_batches_equal_one():
    data = sample(9)
    whole = subset_depth_errors(**data)
    metric = SubsetDepthErrors()
    for start, stop in ((0, 1), (1, 2), (2, 8), (8, 9)):
        metric.update(**cut(data, start, stop))
    torch.testing.assert_close(metric.compute(), whole, rtol=1e-12, atol=0, equal_nan=True)
    torch.testing.assert_close(
        pickle.loads(pickle.dumps(metric)).compute(), metric.compute(), rtol=0, atol=0, equal_nan=True
    )
    metric.reset()
    metric.update(**cut(data, 3, 4))
    torch.testing.assert_close(metric.compute(), subset_depth_errors(**cut(data, 3, 4)), rtol=0, atol=0, equal_nan=True)


def test_ranks_with_uneven_shares_merge_by_sums():
    data = sample(7)
    merged = SubsetDepthErrors()
    for start, stop in ((0, 4), (4, 7), (1, 2)):  # image 1 has no valid pixel and only pads a share
        rank = SubsetDepthErrors()
        rank.update(**cut(data, start, stop))
        for name, reduction in rank._reductions.items():
            assert reduction.__name__ == "dim_zero_sum"
            assert getattr(rank, name).dtype is torch.float64
            setattr(merged, name, getattr(merged, name) + getattr(rank, name))
    merged._update_count = 1
    torch.testing.assert_close(merged.compute(), subset_depth_errors(**data), rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_prediction_that_is_not_finite_stays_visible(bad):
    target = torch.full((1, 1, 8, 8), 2.0)
    prediction = target.clone()
    prediction[0, 0, 3, 3] = bad
    everywhere = {"plain": target > 0}
    errors = subset_depth_errors(
        prediction, target_m=target, mask=target > 0, subsets=everywhere, names=("plain",), alignment="none"
    )
    assert errors["abs_rel_plain_img"].isnan()
    assert errors["delta1_plain_img"].item() == 63 / 64


def test_half_precision_and_untouched_inputs():
    data = sample()
    data["prediction_m"] = data["prediction_m"].to(torch.bfloat16)
    copies = {name: value.clone() for name, value in data.items() if name != "subsets"}
    half = subset_depth_errors(**data)
    for name, value in copies.items():
        torch.testing.assert_close(data[name], value, rtol=0, atol=0, equal_nan=True)
    data["prediction_m"] = data["prediction_m"].float()
    torch.testing.assert_close(half, subset_depth_errors(**data), rtol=0, atol=0, equal_nan=True)


def test_bad_options_and_masks_are_named():
    with pytest.raises(ValueError, match=r"subsets is \(\), but"):
        SubsetDepthErrors(subsets=())
    with pytest.raises(ValueError, match="different names"):
        SubsetDepthErrors(subsets=("thin", "thin"))
    with pytest.raises(ValueError, match="min_pixels is 0"):
        SubsetDepthErrors(min_pixels=0)
    with pytest.raises(ValueError, match="alignment is 'mean'"):
        SubsetDepthErrors(alignment="mean")
    data = sample()
    with pytest.raises(ValueError, match=r"mask 'plain' is torch\.uint8"):
        subset_depth_errors(**{**data, "subsets": {"plain": data["mask"].byte()}})
    with pytest.raises(ValueError, match=r"mask 'mask' is torch\.bool of shape \(6, 24, 32\)"):
        subset_depth_errors(**{**data, "mask": data["mask"][:, 0]})
    with pytest.raises(ValueError, match=r"shapes \(6, 24, 32\)"):
        subset_depth_errors(**{**data, "prediction_m": data["prediction_m"][:, 0]})
