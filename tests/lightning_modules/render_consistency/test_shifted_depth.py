import pytest
import torch
from torch import nn

from lightning_modules.render_consistency.shifted_depth import FLOOR_OF_MEDIAN, SHIFT_RATE, ShiftedDepth


class LogOfMean(nn.Module):
    """Depth is the mean of the channels."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, image):
        return (self.gain * image.mean(dim=1, keepdim=True)).log()


class Plain(ShiftedDepth):
    def loss_terms(self, batch):
        return {}


def make_module(shift=0.0, learn_shift=False):
    return Plain(
        LogOfMean(),
        shift=shift,
        learn_shift=learn_shift,
        loss_weights={"any": 1.0},
    )


def image():
    return torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0)) + 0.5


def test_depth_is_the_networks_plus_the_constant():
    module = make_module(0.25)
    torch.testing.assert_close(module.raw_depth(image()), image().mean(dim=1, keepdim=True))
    torch.testing.assert_close(module(image()), image().mean(dim=1, keepdim=True) + 0.25)
    assert not module.scale_known


def test_depth_stays_above_a_share_of_the_median_of_its_own_image():
    photos = image() * torch.tensor([1.0, 10.0]).view(2, 1, 1, 1)
    depth = make_module(-1e3)(photos)
    median = photos.mean(dim=1).flatten(1).sort(dim=1).values[:, 23]  # the lower of the two in the middle of 48
    torch.testing.assert_close(depth.amin(dim=(1, 2, 3)) / FLOOR_OF_MEDIAN, median, atol=0, rtol=0.05)
    assert (depth.amin(dim=(1, 2, 3)) == depth.amax(dim=(1, 2, 3))).all()


@pytest.mark.parametrize("learned", [False, True])
def test_the_constant_is_in_every_checkpoint_and_learns_when_it_is_told_to(learned):
    module = make_module(0.5, learned)
    assert module.state_dict()["scaled_shift"].item() == pytest.approx(0.5 / SHIFT_RATE)
    module(image()).sum().backward()
    if learned:
        assert module.scaled_shift.grad.item() == pytest.approx(SHIFT_RATE * 2 * 6 * 8)
    else:
        assert module.scaled_shift.grad is None
    assert module.network.gain.grad.item() > 0


def test_a_constant_can_be_left_out_of_the_gradient():
    module = make_module(0.5, learn_shift=True)
    module.shifted(module.raw_depth(image()), shift_learns=False).sum().backward()
    assert module.scaled_shift.grad is None
    assert module.network.gain.grad.item() > 0


def test_a_shift_is_forgiven_to_depth_and_not_to_shape():
    truth = image().mean(dim=1, keepdim=True)
    batch = {
        "image": image(),
        "depth": truth,
        "depth_mask": torch.ones_like(truth, dtype=torch.bool),
        "depth_scale_m": torch.full((2,), 10.0),
        "K": torch.tensor([[6.0, 0.0, 4.0], [0.0, 6.0, 3.0], [0.0, 0.0, 1.0]]).repeat(2, 1, 1),
    }
    found = {}
    for shift in (0.0, 0.5):
        module = make_module(shift)
        module.update_metrics("val", batch)
        found[shift] = module.stage_metrics("val")
        module.reset_metrics("val")
        assert all(state.numel() == 0 or not state.any() for state in module.shape_metrics["val"].metric_state.values())
    assert found[0.5]["score"].item() == pytest.approx(0.0, abs=1e-5)
    assert found[0.0]["residual_shift"].item() == pytest.approx(0.0, abs=1e-5)
    assert found[0.5]["residual_shift"].abs().item() > 0.1
