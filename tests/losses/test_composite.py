"""What every registered loss has to keep, whatever its formula; and the look-up by name."""

import pytest
import torch

from losses.affine import trimmed_scale_and_shift_invariant
from losses.composite import DEPTH_LOSSES, select
from losses.ilnr import ilnr, multi_scale_gradient_ilnr, normalise_truth

NAMES = [
    "l1",
    "mse",
    "rmse",
    "berhu",
    "gradient",
    "silog",
    "ssim",
    "ssi",
    "ssi_trimmed",
    "ssi_gradient",
    "ilnr",
    "ilnr_gradient",
]
every_loss = pytest.mark.parametrize("name", NAMES)


def sample() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.rand(2, 1, 24, 28, generator=generator) * 0.9 + 0.05
    target = torch.rand(2, 1, 24, 28, generator=generator) * 0.9 + 0.05
    mask = torch.ones(2, 1, 24, 28).bool()
    mask[0, 0, 3:6, 4:7] = False
    mask[1, 0, -2:] = False
    return prediction, target, mask


def value_and_gradient(name, prediction, target, mask):
    prediction = prediction.clone().requires_grad_(True)
    loss = DEPTH_LOSSES[name](prediction, target=target, mask=mask)
    (gradient,) = torch.autograd.grad(loss, prediction)
    return loss.detach(), gradient


def best_prediction(name, target, mask):
    """The minimiser of a loss: the target itself or, for ILNR, the normalised target."""
    return normalise_truth(target, mask) if name.startswith("ilnr") else target


def test_the_registry_is_complete():
    assert sorted(DEPTH_LOSSES) == sorted(NAMES)


def test_each_name_is_the_loss_that_it_says():
    assert DEPTH_LOSSES["ssi_trimmed"] is trimmed_scale_and_shift_invariant
    assert DEPTH_LOSSES["ilnr"] is ilnr
    assert DEPTH_LOSSES["ilnr_gradient"] is multi_scale_gradient_ilnr


@every_loss
def test_scalar_positive_and_decreasing_towards_the_target(name):
    prediction, target, mask = sample()
    best = best_prediction(name, target, mask)
    far, _ = value_and_gradient(name, prediction, target, mask)
    near, _ = value_and_gradient(name, best + 0.2 * (prediction - best), target, mask)
    exact, gradient = value_and_gradient(name, best, target, mask)
    assert far.shape == ()
    assert far > near > exact
    assert exact.item() == pytest.approx(0, abs=1e-5)
    assert gradient.isfinite().all()


@every_loss
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_nothing_outside_the_mask_matters(name, poison):
    prediction, target, mask = sample()
    expected = value_and_gradient(name, prediction, target, mask)
    for p, t in ((prediction, target.masked_fill(~mask, poison)), (prediction.masked_fill(~mask, poison), target)):
        loss, gradient = value_and_gradient(name, p, t, mask)
        assert torch.equal(loss, expected[0])
        assert torch.equal(gradient, expected[1])
    assert torch.equal(expected[1][~mask], torch.zeros_like(expected[1][~mask]))
    assert expected[1][mask].abs().max() > 0


@every_loss
def test_empty_mask_is_a_zero_in_the_graph(name):
    prediction, target, mask = sample()
    loss, gradient = value_and_gradient(name, prediction, target * float("nan"), torch.zeros_like(mask))
    assert loss.item() == 0
    assert torch.equal(gradient, torch.zeros_like(prediction))


@every_loss
def test_an_image_without_mask_changes_nothing(name):
    prediction, target, mask = sample()
    expected, _ = value_and_gradient(name, prediction[:1], target[:1], mask[:1])
    mask[1] = False
    loss, _ = value_and_gradient(name, prediction, target, mask)
    torch.testing.assert_close(loss, expected)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_computed_in_float32(name, dtype):
    prediction, target, mask = sample()
    prediction, target = prediction.to(dtype), target.to(dtype)
    loss, gradient = value_and_gradient(name, prediction, target, mask)
    assert loss.dtype is torch.float32
    assert gradient.dtype is dtype
    torch.testing.assert_close(loss, DEPTH_LOSSES[name](prediction.float(), target=target.float(), mask=mask))


@every_loss
def test_wrong_shapes_and_masks_are_named(name):
    prediction, target, mask = sample()
    with pytest.raises(ValueError, match=r"\(2, 1, 24, 28\), \(2, 24, 28\) and"):
        DEPTH_LOSSES[name](prediction, target=target[:, 0], mask=mask)
    with pytest.raises(ValueError, match=r"mask has type torch\.float32"):
        DEPTH_LOSSES[name](prediction, target=target, mask=mask.float())


def test_select_keeps_the_order_and_names_what_it_does_not_know():
    assert list(select(["ssim", "l1"])) == ["ssim", "l1"]
    assert select(["ssim"])["ssim"] is DEPTH_LOSSES["ssim"]
    with pytest.raises(ValueError, match=r"'huber', 'ssimm'; allowed are berhu, gradient, ilnr, .*silog"):
        select(["l1", "huber", "ssimm"])


def test_constants_reach_their_loss():
    prediction, target, mask = sample()
    chosen = select(["berhu", "l1"], {"berhu": {"threshold_fraction": 0.5}})
    expected = DEPTH_LOSSES["berhu"](prediction, target=target, mask=mask, threshold_fraction=0.5)
    assert chosen["berhu"](prediction, target=target, mask=mask) == expected
    assert expected != DEPTH_LOSSES["berhu"](prediction, target=target, mask=mask)
    assert chosen["l1"] is DEPTH_LOSSES["l1"]


@pytest.mark.parametrize(
    ("name", "constants"),
    [("ssi_trimmed", {"trim": 0.5}), ("ilnr", {"trim": 0.3, "squash": 1.0}), ("ilnr_gradient", {"scales": 1})],
)
def test_constants_of_the_affine_losses_can_be_chosen(name, constants):
    prediction, target, mask = sample()
    loss = select([name], {name: constants})[name]
    expected = DEPTH_LOSSES[name](prediction, target=target, mask=mask, **constants)
    assert loss(prediction, target=target, mask=mask) == expected
    assert expected != DEPTH_LOSSES[name](prediction, target=target, mask=mask)


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"berhu": {"treshold": 0.5}}, r"no constant 'treshold'; it has threshold_fraction"),
        ({"l1": {"x": 1}}, r"no constant 'x'; it has none"),
        ({"ssim": {"sigma": 1}}, r"given for ssim"),
    ],
)
def test_unknown_constants_are_named(constants, message):
    with pytest.raises(ValueError, match=message):
        select(["berhu", "l1"], constants)
