"""The bundle of shape metrics equals its parts, image by image."""

import pytest
import torch
from torchmetrics import MetricCollection

from metrics.lsiv import lsiv
from metrics.plane_curvature import plane_errors
from metrics.point_cloud import point_cloud_errors
from metrics.residual_shift import residual_shift
from metrics.shape import ShapeMetrics, shape_errors
from tests.metrics.test_plane_curvature import rooms


def batch_of(n: int = 5) -> dict[str, torch.Tensor]:
    batch = rooms(n)
    noise = torch.randn(batch["target_m"].shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return batch | {"prediction": 3 * (batch["target_m"] * (1 + 0.02 * noise) + 0.3)}


def parts(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    camera = {key: batch[key] for key in ("prediction", "target_m", "mask", "K")}
    shift = residual_shift(batch["prediction"], target_m=batch["target_m"], mask=batch["mask"])
    return {
        **point_cloud_errors(**camera),
        "lsiv": lsiv(**camera),
        **plane_errors(**batch),
        "residual_shift": shift,
        "residual_shift_abs": shift.abs(),
    }


def test_uneven_batches_give_the_means_of_the_parts():
    batch = batch_of()
    batch["mask"][3] = False  # only pads a rank's share
    expected = {name: value.nanmean() for name, value in parts(batch).items()}
    metric = ShapeMetrics()
    for start, stop in ((0, 1), (1, 4), (4, 5)):
        metric.update(**{key: value[start:stop] for key, value in batch.items()})
    assert list(metric.compute()) == list(expected)
    torch.testing.assert_close(metric.compute(), expected)
    torch.testing.assert_close(shape_errors(**batch), expected)
    assert -0.2 < expected["residual_shift"] < -0.05
    assert expected["plane_bend_deg"] > 0.1


def test_batches_without_planes_count_for_all_but_the_planes():
    batch = batch_of()
    expected = {name: value.nanmean() for name, value in parts(batch).items()}
    expected |= {name: value[:3].nanmean() for name, value in parts(batch).items() if name.startswith("plane")}
    metric = ShapeMetrics()
    metric.update(**{key: value[:3] for key, value in batch.items()})
    metric.update(**{key: value[3:] for key, value in batch.items() if key != "plane"})
    torch.testing.assert_close(metric.compute(), expected)


def test_a_camera_of_its_own_turns_all_but_the_depth_errors():
    batch = batch_of(2)
    batch["prediction"] = batch["target_m"].clone()
    wrong = batch["K"] * torch.tensor([1.2, 1.2, 1]).view(3, 1)
    errors = shape_errors(**batch, prediction_K=wrong)
    assert errors["chamfer_m"] > 0.05
    assert errors["lsiv"] > 0.05
    assert errors["plane_normal_deg"] > 1
    assert errors["residual_shift_abs"] < 1e-9
    exact = shape_errors(**batch)
    assert exact.pop("f_score_5cm") == 1
    assert all(abs(value) < 1e-5 for value in exact.values())


def test_it_can_be_a_member_of_a_collection_and_moves_between_devices():
    batch = batch_of(2)
    collection = MetricCollection({"shape": ShapeMetrics()}).to("cpu")
    collection.update(**batch)
    assert collection.compute()["chamfer_m"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_plane_share": 2.0}, "min_plane_share is 2"),
        ({"max_points": 0}, "max_points is 0"),
        ({"min_depth_m": 20.0}, "The depth range is 20"),
    ],
)
def test_bad_arguments_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ShapeMetrics(**settings)
