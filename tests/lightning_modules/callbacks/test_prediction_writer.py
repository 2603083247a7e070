import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from datamodules.prediction_images import ImageFiles
from lightning_modules.callbacks.prediction_panel import PANEL_WIDTH
from lightning_modules.callbacks.prediction_writer import (
    DepthPredictionWriter,
    depth_to_millimetres,
    fit_to_original,
)
from structures.batch import PADDING_INDEX
from tests.data.make_constant_depth import ConstantDepth, RedDepth
from tests.helpers import quiet_trainer


def read_depth(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def predict(writer, loader, module=None, root=None):
    trainer = quiet_trainer(
        callbacks=[writer],
        default_root_dir=root,
    )
    trainer.predict(module or ConstantDepth(2.0, None), loader, return_predictions=False)


def depth_batch(n=2, height=32, width=64):
    depth = torch.full((n, 1, height, width), 2.5)
    return {
        "image": torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0)),
        "depth": depth,
        "depth_mask": torch.ones_like(depth, dtype=torch.bool),
        "K": torch.tensor([[40.0, 0, width / 2], [0, 40, height / 2], [0, 0, 1]]).expand(n, 3, 3),
        "K_known": torch.tensor([True, False])[:n],
        "name": [f"scene/{index}.v2" for index in range(n)],
    }


def test_millimetres_are_rounded_and_clipped():
    depth = torch.tensor([[[0.0, 1.2344, 1.2346, -1.0, 65.535, 99.0, 0.0004]]])
    assert depth_to_millimetres(depth).tolist() == [[0, 1234, 1235, 0, 65535, 65535, 0]]
    assert depth_to_millimetres(depth).dtype == np.uint16


def test_a_ramp_comes_back_on_the_pixel_grid_of_the_original():
    # Depth linear in x over the content; the padding holds nonsense that must not leak in.
    prediction = torch.full((1, 32, 64), 1e6)
    prediction[:, :24, :48] = torch.arange(48) + 0.5
    depth = fit_to_original(prediction, content_size=(24, 48), original_size=(97, 131))
    assert depth.shape == (1, 97, 131)
    centres = (np.arange(131) + 0.5) * 48 / 131
    np.testing.assert_allclose(depth[0, 5], np.clip(centres, 0.5, 47.5), rtol=1e-5)


def test_nothing_is_resampled_where_the_size_fits():
    prediction = torch.rand(1, 32, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        fit_to_original(prediction, content_size=(30, 60), original_size=(30, 60)), prediction[:, :30, :60]
    )


def test_depth_follows_each_pixel_of_an_odd_image(tmp_path):
    red = np.random.default_rng(0).integers(0, 256, (97, 131), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), np.stack([0 * red, 0 * red, red], axis=-1))
    data = ImageFiles(str(tmp_path / "a.png"), image_size=(97, 131))
    data.setup("predict")
    predict(DepthPredictionWriter(str(tmp_path / "out")), data.predict_dataloader(), RedDepth(1.0, None))
    # 1 m + 10 m * red, at the full size without any resampling.
    np.testing.assert_array_equal(read_depth(tmp_path / "out" / "a_depth.png"), np.rint(1000 + red / 255 * 10_000))


def test_a_depth_batch_gets_truth_in_its_panel_and_a_cloud_where_k_is_known(tmp_path):
    writer = DepthPredictionWriter(ply=True)
    predict(writer, DataLoader([depth_batch()], batch_size=None), root=tmp_path)
    folder = tmp_path / "predictions" / "scene"
    both = ["_color.png", "_depth.png", "_panel.png"]
    expected = [f"0.v2{suffix}" for suffix in [".ply", *both, "_side.png"]] + [f"1.v2{suffix}" for suffix in both]
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)
    assert (read_depth(folder / "0.v2_depth.png") == 2000).all()
    height, width = cv2.imread(str(folder / "0.v2_panel.png")).shape[:2]
    assert 4 * 320 <= width <= PANEL_WIDTH, "four pictures, of 64 columns enlarged by 6"
    assert height > 6 * 32
    assert (writer.n_written, writer.failures) == (2, [])


def test_a_cloud_lies_at_the_depth_of_the_png_inside_the_view(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 90, 3), 50, dtype=np.uint8))
    data = ImageFiles(str(tmp_path / "a.png"), image_size=(32, 48), field_of_view_degrees=90.0)
    data.setup("predict")
    predict(DepthPredictionWriter(str(tmp_path), ply=True), data.predict_dataloader())
    body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)[1]
    vertices = np.frombuffer(body, dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    assert len(vertices) == 60 * 90
    # 90 degrees at 2 m: x of the outermost pixel centres is 2 m less half a pixel.
    x, y, z = vertices["xyz"].T
    np.testing.assert_allclose(z, 2.0)
    np.testing.assert_allclose([x.min(), x.max()], [-2 + 2 / 90, 2 - 2 / 90], rtol=1e-5)
    np.testing.assert_allclose(y.max(), (30 - 0.5) / 45 * 2, rtol=1e-5)
    assert (vertices["rgb"] == 50).all()


def test_no_point_flies_between_two_surfaces(tmp_path):
    class Step(ConstantDepth):
        def forward(self, image):
            depth = torch.full_like(image[:, :1], 1.0)
            depth[..., image.shape[3] // 2 :] = 4.0
            return depth

    cv2.imwrite(str(tmp_path / "a.png"), np.full((256, 512, 3), 50, dtype=np.uint8))
    data = ImageFiles(str(tmp_path / "a.png"), image_size=(32, 64), field_of_view_degrees=60.0)
    data.setup("predict")
    for max_jump, clean in ((0.05, True), (None, False)):
        writer = DepthPredictionWriter(str(tmp_path), ply=True, max_jump=max_jump)
        predict(writer, data.predict_dataloader(), Step(1.0, None))
        body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)[1]
        z = np.frombuffer(body, dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])["xyz"][:, 2]
        assert set(np.unique(z.round(3))) == {1.0, 4.0} or not clean
        assert ((z > 1.01) & (z < 3.99)).any() != clean


def test_predictions_that_are_not_finite_are_counted_not_written(tmp_path, caplog):
    class Broken(ConstantDepth):
        def forward(self, image):
            depth = super().forward(image).clone()
            depth[0, 0, 3, 3] = torch.nan
            return depth

    writer = DepthPredictionWriter(str(tmp_path))
    predict(writer, DataLoader([depth_batch()], batch_size=None), Broken(2.0, None))
    assert [name for name, _ in writer.failures] == ["scene/0.v2"]
    assert "not finite" in caplog.text
    assert writer.n_written == 1
    assert not (tmp_path / "scene" / "0.v2_depth.png").exists()


def test_a_sample_that_pads_a_share_is_left_to_the_rank_it_belongs_to(tmp_path):
    writer = DepthPredictionWriter(str(tmp_path))
    batch = {**depth_batch(), "index": torch.tensor([4, PADDING_INDEX])}
    predict(writer, DataLoader([batch], batch_size=None))
    assert (writer.n_written, writer.failures) == (1, [])
    assert (tmp_path / "scene" / "0.v2_depth.png").exists()
    assert not (tmp_path / "scene" / "1.v2_depth.png").exists()


def test_a_page_gets_the_points_of_the_cloud(tmp_path):
    writer = DepthPredictionWriter(str(tmp_path))
    pages = []
    writer.cloud_page = lambda stem, record: pages.append((stem.name, record))
    predict(writer, DataLoader([depth_batch()], batch_size=None))
    ((name, record),) = pages  # the intrinsics of the other one are not known
    assert name == "0.v2"
    assert record.name == "scene/0.v2"
    assert (record.prediction == 2).all()
    assert record.image.shape == (32, 64, 3)
    assert record.K.tolist() == depth_batch()["K"][0].tolist()
    assert not list(tmp_path.rglob("*.ply"))


@pytest.mark.parametrize(
    ("metric", "known", "unit"), [(None, True, "m"), (None, False, "relative"), (False, True, "relative")]
)
def test_the_unit_of_the_bars_is_that_of_the_network(tmp_path, monkeypatch, metric, known, unit):
    monkeypatch.setattr(ConstantDepth, "scale_known", known, raising=False)
    writer = DepthPredictionWriter(str(tmp_path), metric=metric)
    predict(writer, DataLoader([depth_batch()], batch_size=None))
    assert writer._unit == unit


@pytest.mark.parametrize(
    "settings", [{"max_jump": 0.0}, {"max_points": 0}, {"smooth_frames": -1}, {"smooth_frames": float("nan")}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        DepthPredictionWriter(**settings)
