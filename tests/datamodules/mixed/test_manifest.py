"""Manifests with ground truth of every kind: samples and error messages."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from datamodules.manifest.datamodule import ManifestDataModule
from datamodules.manifest.source import read_mask
from datamodules.mixed.sources import ManifestDomain
from structures.depth_kind import DepthKind
from tests.data.make_manifest_data import HEIGHT, WIDTH, make_manifest_data, true_depth_mm, write_rows
from tests.data.make_mixed_data import KINDS, make_mixed_data, true_mask, true_values


def domain(path: Path, **changes: Any) -> ManifestDomain:
    return ManifestDomain(**({"name": "set", "manifest": str(path)} | changes))


def test_ground_truth_of_every_kind_equals_the_written_files(tmp_path: Path) -> None:
    path = make_mixed_data(tmp_path)
    source = domain(path).training(tmp_path)
    assert len(source) == 8
    for index in range(8):
        frame, values, masked = source.read(index), true_values(index), index % 2 == 1
        assert source.kind(index) is DepthKind.from_name(KINDS[index // 2])
        mask = true_mask(index) > 0 if masked else values > 0
        if index < 2:
            mask &= values > 0  # 0 metres is no measurement, even inside the mask
            np.testing.assert_allclose(frame.depth, np.where(mask, values / 10000, 0), rtol=1e-6)
            np.testing.assert_array_equal(frame.labels["truth"], frame.depth)
        else:
            assert not frame.depth.any()
            np.testing.assert_array_equal(frame.labels["truth"], np.where(mask, values, 0).astype(np.float32))
        np.testing.assert_array_equal(frame.flags["truth_mask"], mask)
        if masked and index > 1:
            assert frame.flags["truth_mask"][0].all()  # where the truth is 0


def test_kind_of_the_source_is_that_of_rows_without_one(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    make_mixed_data(tmp_path)
    write_rows(path, [
        {"image": "color/0.png", "depth": "truth/0.png", "kind": "", "name": "a"},
        {"image": "color/1.png", "depth": "truth/1.png", "kind": "affine_depth", "name": "b"},
    ])  # fmt: skip
    source = domain(path, kind="affine_disparity").training(tmp_path)
    assert [source.kind(index) for index in range(2)] == [DepthKind.AFFINE_DISPARITY, DepthKind.AFFINE_DEPTH]


def test_metric_module_takes_masks_and_refuses_other_kinds(tmp_path: Path) -> None:
    path = make_manifest_data(tmp_path)
    cv2.imwrite(str(tmp_path / "mask.png"), true_mask(0))
    row = {"image": "color/000.png", "depth": "depth/000.png", "split": "test", "depth_scale": 1000, "mask": "mask.png"}
    write_rows(path, [row])
    data = ManifestDataModule(str(path), image_size=(HEIGHT, WIDTH))
    data.setup("test")
    expected = np.where(true_mask(0) > 0, true_depth_mm(0) / 1000, 0)
    np.testing.assert_allclose(data.datasets["test"][0]["depth"][0], expected, rtol=1e-6)
    write_rows(path, [row, row | {"kind": "ordinal", "name": "b"}])
    with pytest.raises(ValueError, match=r"manifest.csv, line 3: truth of kind ordinal is not in metres, and only"):
        ManifestDataModule(str(path)).prepare_data()


def test_masks_are_images_or_arrays(tmp_path: Path) -> None:
    expected = true_mask(1) > 0
    np.save(tmp_path / "a.npy", expected)
    cv2.imwrite(str(tmp_path / "b.png"), np.repeat(true_mask(1)[..., None], 3, axis=2))
    cv2.imwrite(str(tmp_path / "c.png"), expected.astype(np.uint16) * 65535)
    for name in ("a.npy", "b.png", "c.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name, (HEIGHT, WIDTH), "here"), expected)


def row_of(**changes: object) -> dict[str, object]:
    return {"image": "color/2.png", "depth": "truth/2.png", "kind": "affine_depth"} | changes


BAD_ROWS: dict[str, tuple[dict[str, object], str]] = {
    "unknown kind": (
        row_of(kind="relative"),
        r"line 2: kind of ground truth 'relative' is not known; choose among metric, affine_depth, affine_disparity,",
    ),
    "no mask": (row_of(mask="mask/none.png"), r"line 2: the mask file .*none.png does not exist"),
    "metric without scale": (row_of(kind="metric"), r"line 2: column 'depth_scale' .* is missing"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_wrong_rows_are_refused_before_anything_starts(tmp_path: Path, case: str) -> None:
    row, message = BAD_ROWS[case]
    path = make_mixed_data(tmp_path)
    write_rows(path, [row])
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        domain(path).prepare(tmp_path)
    assert "\n" not in str(caught.value)


def nan_at(*, masked: bool) -> np.ndarray:
    values = true_values(2).astype(np.float32)
    values[-1 if masked else 5, 4] = np.nan
    return values


BAD_FILES: dict[str, tuple[dict[str, object], np.ndarray | bytes, str]] = {
    "other size": ({}, np.ones((HEIGHT, WIDTH - 2)), r"image is 32x24 but the affine_depth truth has shape \(24, 30\)"),
    "nan": ({}, nan_at(masked=False), r"the affine_depth truth holds 1 NaN or infinite pixels where it is valid"),
    "all equal": ({}, np.full((HEIGHT, WIDTH), 3.0), r"truth is 3 in every valid pixel, so there is nothing to align"),
    "nothing": ({}, np.zeros((HEIGHT, WIDTH)), r"no pixel of the affine_depth truth is valid"),
    "mask of another size": (
        {"mask": "mask/small.png"}, true_values(2), r"the mask .*small.png has shape \(12, 32\), but the depth has",
    ),
    "broken mask": ({"mask": "mask/broken.png"}, true_values(2), r"the mask .*broken.png cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_wrong_content_names_file_and_row(tmp_path: Path, case: str) -> None:
    changes, content, message = BAD_FILES[case]
    path = make_mixed_data(tmp_path)
    np.save(tmp_path / "truth" / "x.npy", content)
    cv2.imwrite(str(tmp_path / "mask" / "small.png"), np.ones((12, WIDTH), np.uint8))
    (tmp_path / "mask" / "broken.png").write_bytes(b"no picture")
    write_rows(path, [row_of(depth="truth/x.npy", **changes)])
    with pytest.raises(ValueError, match=message) as caught:
        domain(path).training(tmp_path).read(0)
    assert f"{path}, line 2" in str(caught.value)


def test_nan_outside_the_mask_is_no_measurement(tmp_path: Path) -> None:
    path = make_mixed_data(tmp_path)
    np.save(tmp_path / "truth" / "x.npy", nan_at(masked=True))
    write_rows(path, [row_of(depth="truth/x.npy", mask="mask/2.png")])
    frame = domain(path).training(tmp_path).read(0)
    assert np.isfinite(frame.labels["truth"]).all()
    assert not frame.flags["truth_mask"][-1].any()


def test_evaluation_has_metres_only(tmp_path: Path) -> None:
    path = make_mixed_data(tmp_path)
    source = domain(path)
    assert source.val_is_test(tmp_path)
    for split in ("val", "test"):
        frames = source.evaluation(split, tmp_path)
        assert len(frames) == 2
        np.testing.assert_allclose(frames.read(1).depth, true_values(9) / 10000, rtol=1e-6)
        assert not frames.read(1).labels
    write_rows(path, [row_of(split="val")])
    source = domain(path)
    assert not source.val_is_test(tmp_path)
    with pytest.raises(ValueError, match=r"a row of split 'val' has truth of kind affine_depth, but evaluation n"):
        source.evaluation("val", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "deep"}, "source set: kind of ground truth 'deep' is not known; choose among metric, affine_depth, "),
        ({"weight": 0.0}, "source set: weight is 0.0, but it has to be positive and finite"),
        ({"weight": -1.0}, "source set: weight is -1.0"),
        ({"weight": float("inf")}, "source set: weight is inf"),
        ({"name": ""}, "Every source of mixed data needs a name"),
        ({"K_convention": "corners"}, "source set: K_convention 'corners' is not known"),
    ],
)
def test_bad_sources_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        domain(Path("x.csv"), **change)
