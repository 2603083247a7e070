"""FCOS head: order of the locations, scales and ReLU, which tower feeds what, first values, errors."""

import math

import pytest
import torch
from torch.nn import functional as F

from networks.fcos_head import FCOSHead


def make_head(**options):
    torch.manual_seed(0)
    return FCOSHead(
        3, **{"channels": 8, "levels": 2, "controller_parameters": 5, "convs": 2, "norm_groups": 2} | options
    )


def make_features(batch=2):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, 8, h, w, generator=generator) for h, w in ((4, 6), (2, 3))]


def test_outputs_are_the_levels_one_after_another_row_by_row():
    head = make_head()
    features = make_features()
    outputs = head(features)
    assert [tuple(x.shape) for x in outputs] == [(2, 30, 3), (2, 30, 4), (2, 30), (2, 30, 5)]
    for start, level in ((0, features[0]), (24, features[1])):
        width = level.shape[-1]
        tower = head.box_tower(level)
        at = (slice(None), start + 1 * width + 2)  # row 1, column 2
        torch.testing.assert_close(outputs.logits[at], head.logits(head.class_tower(level))[:, :, 1, 2])
        torch.testing.assert_close(outputs.quality[at], head.quality(tower)[:, 0, 1, 2])
        torch.testing.assert_close(outputs.parameters[at], head.controller(tower)[:, :, 1, 2])


def test_distances_are_the_relu_of_the_scaled_output_of_each_level():
    head = make_head()
    with torch.no_grad():
        head.scales.copy_(torch.tensor([2.0, -3.0]))
        features = make_features()
        raw = [head.ltrb(head.box_tower(level)).flatten(2).transpose(1, 2) for level in features]
        ltrb = head(features).ltrb
    torch.testing.assert_close(ltrb, torch.cat((F.relu(2 * raw[0]), F.relu(-3 * raw[1])), dim=1))
    assert (ltrb == 0).any()
    assert (ltrb > 0).any()


def test_quality_and_controller_sit_on_the_box_tower():
    head = make_head()
    outputs = head(make_features())
    (outputs.quality.sum() + outputs.parameters.square().sum() + outputs.ltrb.sum()).backward()
    assert all(p.grad is not None for p in head.box_tower.parameters())
    assert all(p.grad is None for p in head.class_tower.parameters())


def test_first_values_are_rare_classes_and_small_controller_weights():
    torch.manual_seed(0)
    head = FCOSHead(80)
    assert head.logits.bias.sigmoid().allclose(torch.tensor(0.01))
    assert head.logits.bias[0].item() == pytest.approx(-math.log(99))
    assert head.controller.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not head.controller.bias.any()
    assert torch.equal(head.scales, torch.ones(5))
    towers = 2 * 4 * (256 * 256 * 9 + 3 * 256)
    assert sum(p.numel() for p in head.parameters()) == towers + (80 + 4 + 1 + 233) * (256 * 9 + 1) + 5
    assert make_head(controller_std=0.2).controller.weight.std().item() == pytest.approx(0.2, rel=0.1)


def test_half_precision_keeps_distances_in_full():
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = make_head()(make_features())
    assert outputs.ltrb.dtype == torch.float32
    assert outputs.logits.dtype == torch.bfloat16


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="8 channels cannot be divided into 3 groups"):
        make_head(norm_groups=3)
    with pytest.raises(ValueError, match="must be positive, got 3, 2, 5 and 0"):
        make_head(convs=0)
    with pytest.raises(ValueError, match="made for 2 levels, got 1"):
        make_head()(make_features()[:1])
