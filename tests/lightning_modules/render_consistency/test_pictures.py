import numpy as np
import torch

from lightning_modules.render_consistency.novel_views import BackRendering, NovelViews
from lightning_modules.render_consistency.pictures import consistency_pictures

H, W = 12, 16


def draw(*, truth_factor=1.0, known=True):
    ramp = torch.linspace(1, 3, W).expand(1, 1, H, W)
    small = ramp[..., ::2, ::2]
    visible = torch.ones_like(small, dtype=torch.bool)
    visible[..., 0] = False
    batch = {
        "image": torch.rand(1, 3, H, W, generator=torch.Generator().manual_seed(0)),
        "depth": truth_factor * ramp,
        "depth_mask": torch.full((1, 1, H, W), known),
    }
    views = NovelViews(torch.full((1, 3, H // 2, W // 2), 0.25), small, visible, small, small)
    hidden = torch.ones(1, 1, H, W, dtype=torch.bool)
    hidden[..., :3] = False
    return consistency_pictures(batch, ramp, views, BackRendering(batch["image"], ramp, hidden))


def test_all_pictures_have_the_size_of_the_photo():
    pictures = draw()
    assert list(pictures) == [
        "image",
        "truth",
        "depth",
        "view",
        "visible",
        "warped depth",
        "predicted depth",
        "back",
        "back depth",
    ]
    assert all(picture.shape == (1, 3, H, W) for picture in pictures.values())
    assert torch.equal(pictures["view"], torch.full((1, 3, H, W), 0.25))


def test_one_depth_has_one_colour_in_all_of_them_whatever_the_unit_of_the_truth():
    pictures = draw(truth_factor=7.0)
    torch.testing.assert_close(pictures["truth"], pictures["depth"], atol=0.01, rtol=0)
    torch.testing.assert_close(pictures["warped depth"][..., 2::2], pictures["depth"][..., 2::2], atol=1e-6, rtol=0)
    assert torch.equal(pictures["warped depth"], pictures["predicted depth"])


def test_what_is_not_seen_is_black():
    pictures = draw()
    assert pictures["visible"][..., :2].max() == 0
    assert pictures["visible"][..., 2:].min() == 1
    assert pictures["back"][..., :3].max() == 0
    assert torch.equal(pictures["back"][..., 3:], pictures["image"][..., 3:])


def test_a_photo_without_truth_is_drawn_too():
    pictures = draw(known=False)
    assert all(picture.isfinite().all() for picture in pictures.values())
    assert torch.equal(pictures["depth"], draw()["depth"])


def test_bars_are_in_metres_of_the_truth_or_relative():
    ramp = np.quantile(np.tile(np.linspace(1, 3, W), H), [0.02, 0.98])
    (bar,) = draw(truth_factor=7.0).bars["back depth"]
    np.testing.assert_allclose([bar.low, bar.high], 7 * ramp, rtol=0.02)
    assert bar.unit == "m"
    pictures = draw(known=False)
    (bar,) = pictures.bars["depth"]
    np.testing.assert_allclose([bar.low, bar.high], ramp, rtol=0.02)
    assert bar.unit == "relative"
    assert pictures.bars["truth"] == [None]
    assert set(pictures.titles) < set(pictures)


def test_a_prediction_that_is_not_finite_is_drawn():
    nothing = torch.full((1, 1, H, W), float("nan"))
    batch = {"image": torch.zeros(1, 3, H, W), "depth": torch.full((1, 1, H, W), 2.0)}
    batch["depth_mask"] = batch["depth"] > 0
    visible = torch.ones_like(batch["depth_mask"])
    views = NovelViews(batch["image"], nothing, visible, nothing, nothing)
    pictures = consistency_pictures(batch, nothing, views, BackRendering(batch["image"], nothing, visible))
    assert all(picture.isfinite().all() for picture in pictures.values())
    assert pictures.bars["truth"][0].low == 2
