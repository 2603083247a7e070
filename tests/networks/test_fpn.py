"""Feature pyramid: sizes, the two extra levels, counts, errors."""

import pytest
import torch
from torch.nn import functional as F

from networks.fpn import FeaturePyramid


def make_features(widths=(8, 12, 16), height=12, width=16, batch=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(batch, c, height >> i, width >> i, generator=generator) for i, c in enumerate(widths)]


def test_levels_are_lateral_plus_enlarged_coarser_ones():
    pyramid = FeaturePyramid((8, 12, 16), 4, extra_levels=0)
    features = make_features()
    inner, outer = pyramid.pyramid.inner_blocks, pyramid.pyramid.layer_blocks
    lateral = [block(x) for block, x in zip(inner, features, strict=True)]
    top = lateral[2]
    middle = lateral[1] + top.repeat_interleave(2, dim=2)[:, :, :6].repeat_interleave(2, dim=3)
    finest = lateral[0] + middle.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    for level, merged, block in zip(pyramid(features), (finest, middle, top), outer, strict=True):
        torch.testing.assert_close(level, block(merged))


def test_first_extra_level_reads_the_coarsest_and_the_second_its_relu():
    pyramid = FeaturePyramid((8, 12, 16), 4)
    levels = pyramid(make_features())
    assert [tuple(level.shape[-2:]) for level in levels] == [(12, 16), (6, 8), (3, 4), (2, 2), (1, 1)]
    first, second = pyramid.pyramid.extra_blocks.convs
    torch.testing.assert_close(levels[3], first(levels[2]))
    torch.testing.assert_close(levels[4], second(F.relu(levels[3])))
    assert (levels[2] < 0).any()
    assert (levels[3] < 0).any()


def test_parameter_count_of_the_papers_pyramid():
    with torch.device("meta"):
        pyramid = FeaturePyramid((512, 1024, 2048))
    # lateral 1x1, output 3x3, two strided 3x3, all with biases
    expected = (512 + 1024 + 2048) * 256 + 3 * 256 + 5 * (256 * 256 * 9 + 256)
    assert sum(p.numel() for p in pyramid.parameters()) == expected


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="at least one map"):
        FeaturePyramid(())
    with pytest.raises(ValueError, match="extra_levels must not be negative, got -1"):
        FeaturePyramid((8,), extra_levels=-1)
