"""Depth metrics against a numpy reference, the released GAM-Depth evaluation, and every way of cutting into batches."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from metrics.depth import DEPTH_ERRORS, EIGEN_CROP, DepthMetrics, depth_errors
from tests.data.depth_errors_reference import image_errors, mean_errors
from tests.data.make_depth_blocks import depth_blocks

GOLDEN = Path(__file__).parents[1] / "golden" / "gam_compute_errors.npz"
HEIGHT, WIDTH = 24, 32


def sample(n: int = 5, seed: int = 0) -> dict[str, torch.Tensor]:
    """Blocks of depth 0.5 to 11 m, a noisy prediction of another scale, holes that hold NaN, one empty image."""
    target, noise, mask, generator = depth_blocks(n, HEIGHT, WIDTH, seed)
    return {
        "prediction_m": (0.8 * target * (0.85 + 0.3 * noise) - 0.3).masked_fill(~mask, float("inf")),
        "target_m": target.masked_fill(~mask, float("nan")),
        "mask": mask,
        "depth_scale_m": torch.rand(n, generator=generator) * 5 + 5,
    }


def cut(data: dict[str, torch.Tensor], start: int, stop: int) -> dict[str, torch.Tensor]:
    return {name: value[start:stop] for name, value in data.items()}


def assert_same(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], rtol: float = 1e-12) -> None:
    assert list(ours) == list(expected)
    for name, value in ours.items():
        torch.testing.assert_close(value, expected[name], rtol=rtol, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def reference_rows(data, alignment="none", crop=None, low=1e-3, high=10.0):
    return [
        image_errors(
            data["prediction_m"][i, 0].numpy(),
            data["target_m"][i, 0].numpy(),
            data["mask"][i, 0].numpy(),
            data["depth_scale_m"][i].item(),
            alignment,
            low,
            high,
            crop,
        )
        for i in range(len(data["mask"]))
    ]


@pytest.mark.parametrize("crop", [None, (0.25, 0.75, 0.125, 1.0)])
@pytest.mark.parametrize(("alignment", "suffix"), [("none", ""), ("median", "_median"), ("least_squares", "_lsq")])
def test_mean_of_images_equals_the_reference(alignment, suffix, crop):
    data = sample()
    ours = depth_errors(**data, alignment=alignment, crop=crop, min_depth_m=0.6, max_depth_m=9.0)
    expected = mean_errors(reference_rows(data, alignment, crop, 0.6, 9.0))
    assert sorted(ours) == sorted(f"{name}_img{suffix}" for name in expected)
    for name, value in expected.items():
        # 2e-5: errors are taken in float32, and a least-squares fit in float32 moves a prediction by 1e-6.
        assert ours[f"{name}_img{suffix}"].item() == pytest.approx(value, rel=2e-5), name


def test_a_reversed_prediction_is_not_turned_around():
    # Near is said to be far: the best straight line has a negative slope, and would score as no error at all.
    target = torch.tensor([1.0, 2.0, 3.0, 6.0]).view(1, 1, 2, 2)
    data = {"target_m": target, "mask": target > 0, "depth_scale_m": torch.ones(1), "edges": False}
    reversed_m = depth_errors(7 - target, **data, alignment="least_squares")
    # Means are 3 and 4, so that 6, 5, 4, 1 become 4.5, 3.75, 3, 0.75.
    assert reversed_m["abs_rel_img_lsq"].item() == pytest.approx((3.5 + 1.75 / 2 + 0 + 5.25 / 6) / 4, rel=1e-6)
    inverse = depth_errors(1 / target, **data, alignment="least_squares")
    # Means are 3 and 1/2: 6 / g.
    assert inverse["abs_rel_img_lsq"].item() == pytest.approx((5 + 1 / 2 + 1 / 3 + 5 / 6) / 4, rel=1e-6)


@pytest.mark.parametrize("turn", [lambda g: 1 / g, lambda g: 12 - g, lambda g: -g, lambda g: 0.5 * g + 3])
def test_least_squares_of_any_slope_equals_the_reference(turn):
    data = sample()
    keep, generator = data["mask"], torch.Generator().manual_seed(3)
    noise = 0.2 * torch.rand(keep.shape, generator=generator)
    data["prediction_m"] = torch.where(keep, turn(data["target_m"]) + noise, torch.nan)
    ours = depth_errors(**data, alignment="least_squares", edges=False)
    rows = reference_rows(data, "least_squares")
    if turn(torch.tensor(1.0)) < 0:  # no positive factor brings a negative mean to the truth's: it is left as it is
        rows = reference_rows(data, "none")
    expected = mean_errors(rows)
    for name in DEPTH_ERRORS:
        assert ours[f"{name}_img_lsq"].item() == pytest.approx(expected[name], rel=5e-5), name


def test_mean_of_pixels_equals_one_long_image():
    data = sample()
    ours = depth_errors(**data, average="pixel", edges=False)
    keep = data["mask"]
    long = {name: data[name][keep].view(1, 1, 1, -1) for name in ("prediction_m", "target_m")}
    scale = data["depth_scale_m"].view(-1, 1, 1, 1).expand_as(keep)[keep]
    row = image_errors(
        long["prediction_m"][0, 0].numpy(), long["target_m"][0, 0].numpy(), np.ones((1, len(scale)), bool), 1.0
    )
    assert row is not None
    assert list(ours) == [f"{name}_px" for name in DEPTH_ERRORS]
    for name in DEPTH_ERRORS[:9]:
        assert ours[f"{name}_px"].item() == pytest.approx(row[name], rel=1e-5), name
    valid = long["target_m"].flatten() <= 10
    scaled = ((long["prediction_m"].flatten() - long["target_m"].flatten()) / scale)[valid].double()
    assert ours["l1_scaled_px"].item() == pytest.approx(scaled.abs().mean().item(), rel=1e-5)
    assert ours["mse_scaled_px"].item() == pytest.approx(scaled.square().mean().item(), rel=1e-5)


def test_equals_the_released_gam_depth_evaluation():
    with np.load(GOLDEN) as golden:
        gt, pred = (torch.from_numpy(golden[name]).unsqueeze(1) for name in ("gt", "pred"))
        expected, names = golden["errors"], [str(name) for name in golden["names"]]
    ours_of = {"lg10": "log10", "a1": "delta1", "a2": "delta2", "a3": "delta3"}
    options = {"alignment": "median", "min_depth_m": 0.1, "max_depth_m": 10.0, "edges": False}
    data = {"prediction_m": pred, "target_m": gt, "mask": gt > 0, "depth_scale_m": torch.ones(5)}
    for i in range(5):
        ours = depth_errors(**cut(data, i, i + 1), **options)
        for name, value in zip(names, expected[i], strict=True):
            assert ours[f"{ours_of.get(name, name)}_img_median"].item() == pytest.approx(value, rel=1e-5, abs=1e-6)
    mean = depth_errors(**data, **options)
    assert mean["abs_rel_img_median"].item() == pytest.approx(expected[:, 0].mean(), rel=1e-5)


def test_closed_forms():
    target = torch.full((1, 1, 4, 4), 2.0)
    data = {"target_m": target, "mask": target > 0, "depth_scale_m": torch.tensor([4.0])}
    errors = depth_errors(2.6 * torch.ones_like(target), **data)
    expected = {"abs_rel": 0.3, "sq_rel": 0.18, "rmse": 0.6, "rmse_log": np.log(1.3), "log10": np.log10(1.3)}
    expected |= {"silog": 0.0, "delta1": 0.0, "delta2": 1.0, "delta3": 1.0, "l1_scaled": 0.15, "mse_scaled": 0.0225}
    for name, value in expected.items():
        assert errors[f"{name}_img"].item() == pytest.approx(value, rel=1e-5, abs=1e-4), name
    # Below the cap the clamped prediction counts, except for the scaled errors.
    capped = depth_errors(-2 * torch.ones_like(target), **data, min_depth_m=0.5)
    assert capped["abs_rel_img"].item() == pytest.approx(0.75)
    assert capped["l1_scaled_img"].item() == pytest.approx(1.0)


@pytest.mark.parametrize("average", ["image", "pixel"])
@pytest.mark.parametrize("alignment", ["none", "median", "least_squares"])
def test_uneven_batches_equal_one(average, alignment):
    data = sample(9)
    whole = depth_errors(**data, average=average, alignment=alignment)
    metric = DepthMetrics(alignment, average=average)
    for start, stop in ((0, 1), (1, 2), (2, 8), (8, 9)):
        metric.update(**cut(data, start, stop))
    assert_same(metric.compute(), whole)
    metric.reset()
    metric.update(**cut(data, 3, 4))
    assert_same(metric.compute(), depth_errors(**cut(data, 3, 4), average=average, alignment=alignment))


@pytest.mark.parametrize("average", ["image", "pixel"])
def test_ranks_with_uneven_shares_merge_by_sums(average):
    data = sample(7)
    ranks = [DepthMetrics(average=average) for _ in range(3)]
    for rank, (start, stop) in zip(ranks, ((0, 4), (4, 7), (1, 2)), strict=True):
        rank.update(**cut(data, start, stop))
    merged = DepthMetrics(average=average)
    merged.update(**cut(data, 0, 1))
    merged.reset()
    for rank in ranks:
        for name, reduction in rank._reductions.items():
            assert reduction.__name__ == "dim_zero_sum"
            assert getattr(rank, name).dtype is torch.float64
            setattr(merged, name, getattr(merged, name) + getattr(rank, name))
    merged._update_count = 1
    assert_same(merged.compute(), depth_errors(**data, average=average))


def test_padding_samples_are_ignored():
    data = sample()
    expected = depth_errors(**data)
    padding = cut(data, 1, 2)
    assert not padding["mask"].any()
    padded = {name: torch.cat([value, padding[name], padding[name]]) for name, value in data.items()}
    assert_same(depth_errors(**padded), expected)


def test_images_without_true_edges_count_for_errors_only():
    data = sample(3)
    expected = depth_errors(**data)
    flat = torch.full((1, 1, HEIGHT, WIDTH), 2.0)
    data["target_m"] = torch.cat([data["target_m"], flat])
    stepped = flat.clone()
    stepped[..., WIDTH // 2 :] = 3.0
    data["prediction_m"] = torch.cat([data["prediction_m"], stepped])
    data["mask"] = torch.cat([data["mask"], flat > 0])
    data["depth_scale_m"] = torch.cat([data["depth_scale_m"], torch.ones(1)])
    errors = depth_errors(**data)
    for name, value in errors.items():
        if name.startswith("edge"):
            assert value == expected[name]
    # Two images had a valid pixel, and the stepped one is wrong by half on half of its pixels.
    assert errors["abs_rel_img"].item() == pytest.approx((expected["abs_rel_img"].item() * 2 + 0.25) / 3)


@pytest.mark.parametrize("average", ["image", "pixel"])
def test_nothing_valid_is_nan(average):
    data = sample()
    data["mask"] = torch.zeros_like(data["mask"])
    assert all(value.isnan() for value in depth_errors(**data, average=average).values())


def test_nan_prediction_stays_visible():
    data = sample()
    data["prediction_m"][0, 0, 0, 0] = float("nan")
    data["mask"][0, 0, 0, 0] = True
    data["target_m"][0, 0, 0, 0] = 1.0
    assert depth_errors(**data)["abs_rel_img"].isnan()


def test_alignments_remove_what_they_should():
    data = sample()
    data["target_m"] = data["target_m"].clamp(1, 9)
    data["prediction_m"] = 0.2 * data["target_m"]
    assert depth_errors(**data, alignment="median")["rmse_img_median"].item() == pytest.approx(0, abs=1e-5)
    data["prediction_m"] = 3 + 0.2 * data["target_m"]
    assert depth_errors(**data, alignment="least_squares")["rmse_img_lsq"].item() == pytest.approx(0, abs=1e-5)
    assert depth_errors(**data, alignment="median")["rmse_img_median"].item() > 1
    # The mean predictor: a constant is aligned to the mean of each target.
    data["prediction_m"] = torch.full_like(data["prediction_m"], 4.0)
    spread = np.mean([data["target_m"][i][data["mask"][i]].std(correction=0).item() for i in (0, 2, 3, 4)])
    assert depth_errors(**data, alignment="least_squares")["rmse_img_lsq"].item() == pytest.approx(spread, rel=1e-4)


def test_eigen_crop_is_exact_at_the_size_of_nyu():
    target = torch.full((1, 1, 480, 640), 2.0)
    target[0, 0, 44:471, 40:601] = 1.0
    data = {"target_m": target, "mask": target > 0, "depth_scale_m": torch.ones(1), "crop": EIGEN_CROP, "edges": False}
    assert depth_errors(torch.ones_like(target), **data)["abs_rel_img"].item() == 0
    errors = depth_errors(torch.where(target == 1, 0.5, 2.0), **data, average="pixel")
    assert errors["abs_rel_px"].item() == 0.5
    metric = DepthMetrics(crop=EIGEN_CROP, average="pixel", edges=False)
    metric.update(target, target_m=target, mask=target > 0, depth_scale_m=torch.ones(1))
    assert metric.error_totals[0].item() == 427 * 561


def test_a_pixel_is_inside_the_crop_if_its_centre_is():
    target = torch.ones(1, 1, 10, 10)
    data = {"target_m": target, "mask": target > 0, "depth_scale_m": torch.ones(1)}
    # Centres lie at 0.05, 0.15, ...: rows 3 to 6 and columns 4 to 8 are inside.
    metric = DepthMetrics(crop=(0.34, 0.66, 0.42, 0.86), average="pixel", edges=False)
    metric.update(target, **data)
    assert metric.error_totals[0].item() == 4 * 5
    rows, columns = torch.arange(10).view(1, 1, 10, 1), torch.arange(10).view(1, 1, 1, 10)
    inside = (rows >= 3) & (rows <= 6) & (columns >= 4) & (columns <= 8)
    metric.reset()
    metric.update(torch.where(inside, 1.0, 2.0), **data)
    assert metric.compute()["abs_rel_px"].item() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions(dtype):
    data = sample()
    data["prediction_m"] = data["prediction_m"].to(dtype)
    half = depth_errors(**data, alignment="median")
    data["prediction_m"] = data["prediction_m"].float()
    assert_same(half, depth_errors(**data, alignment="median"))


def test_inputs_are_not_written_to_and_the_metric_pickles():
    data = sample()
    copies = {name: value.clone() for name, value in data.items()}
    metric = DepthMetrics("least_squares", crop=EIGEN_CROP)
    metric.update(**data)
    for name, value in data.items():
        torch.testing.assert_close(value, copies[name], rtol=0, atol=0, equal_nan=True)
    assert_same(pickle.loads(pickle.dumps(metric)).compute(), metric.compute())
    assert_same(metric.clone().compute(), metric.compute())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alignment": "mean"}, "alignment is 'mean', but it must be one of none, median, least_squares"),
        ({"average": "batch"}, "average is 'batch', but it must be one of image, pixel"),
        ({"min_depth_m": 0.0}, "depth range is 0.0 to 10.0 m"),
        ({"max_depth_m": 1e-4}, "depth range is 0.001 to 0.0001 m"),
        ({"crop": (44, 471, 40, 601)}, r"crop is \(44, 471, 40, 601\)"),
        ({"edge_tolerance_px": 0.0}, "edge_tolerance_px is 0.0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        DepthMetrics(**options)


def test_bad_shapes_are_named():
    data = sample()
    with pytest.raises(ValueError, match="depth_scale_m has shape"):
        depth_errors(**{**data, "depth_scale_m": torch.ones(1)})
    with pytest.raises(ValueError, match=r"shapes \(5, 24, 32\)"):
        depth_errors(**{**data, "prediction_m": data["prediction_m"][:, 0]})
    with pytest.raises(ValueError, match=r"mask has type torch\.uint8"):
        depth_errors(**{**data, "mask": data["mask"].byte()})


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_a_prediction_that_is_not_finite_stays_visible(bad):
    prediction = torch.full((2, 1, 8, 8), 2.0)
    target = torch.full_like(prediction, 2.5)
    mask = torch.ones_like(prediction, dtype=torch.bool)
    prediction[1, 0, 3, 3] = bad
    metrics = DepthMetrics(edges=False)
    metrics.update(prediction, target_m=target, mask=mask, depth_scale_m=torch.tensor([10.0, 10.0]))
    values = metrics.compute()
    assert all(
        values[f"{name}_img"].isnan() for name in ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "l1_scaled")
    )
    assert values["delta3_img"] < 1  # and no ratio of such a pixel counts as near
    mask[1, 0, 3, 3] = False  # where nothing was measured it does not matter
    metrics.reset()
    metrics.update(prediction, target_m=target, mask=mask, depth_scale_m=torch.tensor([10.0, 10.0]))
    assert metrics.compute()["abs_rel_img"] == pytest.approx(0.2)
