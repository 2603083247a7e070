import math

import pytest
import torch

from geometry.camera import intrinsics_from_field_of_view, pixel_grid
from lightning_modules.self_calibration import opposite_turns
from tools.consistency_signal import oracle_disagreement, report

H, W = 48, 64
K = intrinsics_from_field_of_view(math.radians(60), height=H, width=W)[None]


def wall():
    x, y = pixel_grid(H, W, like=K)
    return (3 / (1 + 0.4 * (x - W / 2) / K[0, 0, 0] + 0.1 * (y - H / 2) / K[0, 1, 1])).view(1, 1, H, W)


@pytest.mark.parametrize("about", ["camera", "scene"])
def test_the_oracle_agrees_at_the_truth_and_disagrees_beside_it(about):
    turns = opposite_turns([8.0])

    def at(shift, focal):
        return oracle_disagreement(wall(), K, turns, shift=shift, focal=focal, about=about)

    right = at(0.0, 1.0)
    assert right.relative < 1e-3
    for wrong in (at(0.3, 1.0), at(-0.3, 1.0), at(0.0, 1.3), at(0.0, 0.75)):
        assert wrong.relative > 4 * right.relative
    assert at(0.3, 1.0).slope < 0 < at(-0.3, 1.0).slope


def test_the_report_marks_the_valley():
    from tools.consistency_signal import FOCALS, SHIFTS

    focal, shift = torch.tensor(FOCALS)[:, None], torch.tensor(SHIFTS)[None]
    surface = (shift - (focal - 1)).abs()
    text = report("camera", surface, surface)
    assert text.count("*") >= len(FOCALS)
