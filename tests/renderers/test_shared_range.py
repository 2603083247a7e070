"""One range for many depth maps: quantiles over all of them, in bounded memory."""

import pytest
import torch

import renderers.shared_range
from renderers.shared_range import SharedRange


def test_the_ends_are_the_quantiles_of_all_maps_together():
    shared = SharedRange()
    maps = [torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(k)) * 10 ** (k % 2) for k in range(4)]
    for depth in maps:
        shared.add(depth)
    expected = torch.quantile(torch.cat(maps).flatten(), torch.tensor([0.02, 0.98]))
    assert shared.ends() == pytest.approx(expected.tolist(), rel=1e-6)


def test_a_large_map_is_sampled_over_its_whole_area():
    depth = torch.linspace(1, 5, 640).expand(1, 480, 640)
    shared = SharedRange(quantile=0.0)
    shared.add(depth)
    assert shared.ends() == pytest.approx((1, 5), abs=0.05)


def test_invalid_pixels_and_empty_videos_do_not_count():
    shared = SharedRange(quantile=0.0)
    assert shared.ends() == (1.0, 10.0)
    shared.add(torch.zeros(1, 4, 4))
    assert shared.ends() == (1.0, 10.0)
    shared.add(torch.tensor([[[0.0, 2.0], [torch.nan, torch.inf]]]))
    shared.add(torch.tensor([[[7.0]]]))
    assert shared.ends() == (2.0, 7.0)


def test_a_long_video_keeps_an_even_choice_of_frames(monkeypatch):
    monkeypatch.setattr(renderers.shared_range, "MOST_MAPS", 8)
    shared = SharedRange(quantile=0.0)
    for frame in range(1, 101):
        shared.add(torch.full((1, 2, 2), float(frame)))
    assert len(shared._samples) <= 8
    near, far = shared.ends()
    assert near == 1
    assert far > 84  # of every 16th frame


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, H, W\) is needed"):
        SharedRange().add(torch.ones(2, 1, 4, 4))
