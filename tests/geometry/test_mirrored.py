"""Mirror images: weights of the blend in closed form, and where a camera's centre goes."""

import numpy as np
import pytest
import torch

from geometry.camera import project
from geometry.mirrored import blend_mirrored, mirrored_intrinsics


def test_weights_are_the_ramps_of_the_papers():
    # 1 for the image and 0 for its mirror image: the blend is the weight of the image itself.
    width = 400
    share = blend_mirrored(torch.ones(1, 1, 2, width), torch.zeros(1, 1, 2, width))[0, 0, 0].double().numpy()
    x = (np.arange(width) + 0.5) / width
    expected = np.interp(x, [0, 0.05, 0.1, 0.9, 0.95, 1], [0, 0, 0.5, 0.5, 1, 1])
    np.testing.assert_allclose(share, expected, atol=1e-6)
    assert share[:20].max() == 0  # 5 % of the width on the left: the mirror image alone
    assert share[-20:].min() == 1
    np.testing.assert_allclose(share + share[::-1], 1, atol=1e-6)


def test_what_is_said_of_the_mirror_image_is_turned_back():
    values = torch.rand(2, 1, 5, 60, generator=torch.Generator().manual_seed(0))
    assert torch.equal(blend_mirrored(values, values.flip(-1)), values)


def test_a_bias_to_one_side_cancels_in_the_middle():
    # A network that says one metre more at the right border, whatever it is shown.
    bias = torch.linspace(0, 1, 41).expand(1, 1, 3, 41)
    blended = blend_mirrored(2 + bias, 2 + bias)
    torch.testing.assert_close(blended[..., 5:-5], torch.full((1, 1, 3, 31), 2.5))


def test_a_wider_margin_and_bad_arguments():
    share = blend_mirrored(torch.ones(1, 8), torch.zeros(1, 8), margin=0.25)[0]
    assert share.tolist() == pytest.approx([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    with pytest.raises(ValueError, match=r"shapes \(2, 3\) and \(2, 4\)"):
        blend_mirrored(torch.ones(2, 3), torch.ones(2, 4))
    for margin in (0, 0.3, float("nan")):
        with pytest.raises(ValueError, match="margin is"):
            blend_mirrored(torch.ones(1, 8), torch.ones(1, 8), margin=margin)


def test_half_precision_stays():
    assert blend_mirrored(torch.ones(1, 8).half(), torch.ones(1, 8).half()).dtype is torch.float16


def test_a_point_and_its_mirror_image_fall_on_mirrored_pixels():
    K = torch.tensor([[[50.0, 0, 30], [0, 55, 20], [0, 0, 1]]])
    before = K.clone()
    point = torch.tensor([0.4, -0.3, 2.0]).view(1, 3, 1, 1)
    mirrored = mirrored_intrinsics(K, width=64)
    pixel, _ = project(point, K)
    other, _ = project(point * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1), mirrored)
    torch.testing.assert_close(other[:, 0], 64 - pixel[:, 0])
    torch.testing.assert_close(other[:, 1], pixel[:, 1])
    torch.testing.assert_close(mirrored_intrinsics(mirrored, width=64), K)
    assert torch.equal(K, before)
