"""The loss on truth of mixed kinds: each kind in its own space, alone and in a batch, in closed form and in a loop."""

import numpy as np
import pytest
import torch

from losses.by_kind import mixed_truth_loss
from losses.pixel_pairs import PixelPairs, random_pairs
from losses.ranking import ranking
from structures.depth_kind import DepthKind

BASES = ["ssi", "ssi_squared", "ssi_trimmed", "ilnr"]
NUMBERS = [DepthKind.METRIC, DepthKind.AFFINE_DEPTH, DepthKind.AFFINE_DISPARITY]


def field(seed: int, count: int = 1, size: tuple[int, int] = (12, 16)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, *size, generator=generator, dtype=torch.float64) * 3 + 1


def measured(like: torch.Tensor, seed: int = 9) -> torch.Tensor:
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(seed)) > 0.2


def truth_of(depth: torch.Tensor, kind: DepthKind, scale: float = 7.0, shift: float = -3.0) -> torch.Tensor:
    if kind is DepthKind.METRIC:
        return depth
    if kind is DepthKind.ORDINAL:
        return depth.pow(3) - 20
    return scale * (depth if kind is DepthKind.AFFINE_DEPTH else 1 / depth) + shift


def total(terms):
    return sum(terms)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", NUMBERS)
def test_zero_at_the_truth_and_at_what_its_kind_cannot_tell_from_it(base, kind):
    depth = field(0, 2)
    truth, mask = truth_of(depth, kind), measured(depth)
    equivalent = 1 / (0.3 / depth + 0.2) if kind is DepthKind.AFFINE_DISPARITY else 0.3 * depth + 2
    kinds = torch.full((2,), int(kind))
    for prediction in (depth, equivalent):
        terms = mixed_truth_loss(prediction, truth=truth, truth_mask=mask, kind=kinds, base=base)
        assert max(value.abs().item() for value in terms) < 1e-9
    wrong = mixed_truth_loss(depth.square(), truth=truth, truth_mask=mask, kind=kinds, base=base)
    assert wrong.ssi > 0.01
    assert wrong.gradient > 0.01
    assert wrong.ranking == 0


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", NUMBERS)
def test_blind_to_the_unit_of_the_truth(base, kind):
    depth, other = field(0, 2), field(1, 2)
    kinds, mask = torch.full((2,), int(kind)), measured(depth)
    expected = mixed_truth_loss(depth, truth=other, truth_mask=mask, kind=kinds, base=base)
    scaled = mixed_truth_loss(depth, truth=1000 * other + 5, truth_mask=mask, kind=kinds, base=base)
    torch.testing.assert_close(tuple(scaled), tuple(expected), rtol=1e-6, atol=1e-9)
    assert expected.ssi > 0.1


def test_ssi_equals_a_numpy_loop():
    depth, truth = field(0, 3), field(1, 3)
    kinds, mask = torch.tensor(NUMBERS), measured(depth)
    data, gradient = [], []
    for i, kind in enumerate(kinds.tolist()):
        m = mask[i, 0].numpy()
        p, g = depth[i, 0].numpy(), truth[i, 0].numpy()
        p = 1 / p if kind == DepthKind.AFFINE_DISPARITY else p
        slope, intercept = np.polyfit(p[m], g[m], 1)
        slope, intercept = abs(slope), g[m].mean() - abs(slope) * p[m].mean()
        r = (slope * p + intercept - g) / np.abs(g[m] - g[m].mean()).mean()
        data.append(np.abs(r[m]).mean())
        gradient.append(0.0)
        for k in range(2):
            rk, mk = r[:: 2**k, :: 2**k], m[:: 2**k, :: 2**k]
            x = np.abs(np.diff(rk, axis=1))[mk[:, 1:] & mk[:, :-1]].sum()
            y = np.abs(np.diff(rk, axis=0))[mk[1:] & mk[:-1]].sum()
            gradient[-1] += (x + y) / mk.sum()
    terms = mixed_truth_loss(depth, truth=truth, truth_mask=mask, kind=kinds, gradient_scales=2)
    assert terms.ssi.item() == pytest.approx(np.mean(data), rel=1e-9)
    assert terms.gradient.item() == pytest.approx(np.mean(gradient), rel=1e-9)


@pytest.mark.parametrize("base", ["ssi_squared", "ilnr"])
def test_other_bases_equal_numpy(base):
    depth, truth = field(0), field(1).square()
    mask = measured(depth)
    p, g = depth[mask].numpy(), truth[mask].numpy()
    slope = abs(np.polyfit(p, g, 1)[0])
    aligned = slope * (p - p.mean()) + g.mean()
    if base == "ssi_squared":
        expected = (((aligned - g) / np.abs(g - g.mean()).mean()) ** 2).mean() / 2
    else:
        low = int(0.1 * len(g))
        kept = np.sort(g)[low:-low]
        x, y = ((v - kept.mean()) / kept.std(ddof=1) for v in (aligned, g))
        expected = np.abs(x - y).mean() + np.abs(np.tanh(0.01 * x) - np.tanh(0.01 * y)).mean()
    terms = mixed_truth_loss(
        depth, truth=truth, truth_mask=mask, kind=torch.tensor([DepthKind.AFFINE_DEPTH]), base=base
    )
    assert terms.ssi.item() == pytest.approx(expected, rel=1e-9)


def test_a_depth_of_zero_harms_only_where_it_is_inverted():
    depth = torch.stack([field(0)[0], field(1)[0]])
    depth[0, 0, 3, 3] = 0
    depth.requires_grad_(True)
    everywhere = torch.ones_like(depth, dtype=torch.bool)
    terms = mixed_truth_loss(depth, truth=field(2, 2), truth_mask=everywhere, kind=torch.tensor([1, 2]))
    (gradient,) = torch.autograd.grad(total(terms), depth)
    assert gradient.isfinite().all()


def test_trimmed_equals_numpy_and_does_not_see_outliers():
    depth, truth = field(0), field(1)
    everywhere = torch.ones_like(depth, dtype=torch.bool)
    kinds = torch.tensor([DepthKind.AFFINE_DEPTH])
    p, g = ((v - np.median(v)) / np.abs(v - np.median(v)).mean() for v in (depth.numpy(), truth.numpy()))
    smallest = np.sort(np.abs(p - g).ravel())[: int(0.8 * p.size)]
    terms = mixed_truth_loss(depth, truth=truth, truth_mask=everywhere, kind=kinds, base="ssi_trimmed")
    assert terms.ssi.item() == pytest.approx(smallest.mean(), rel=1e-9)

    spoilt = depth.clone()
    spoilt[..., 0, :5] = 100.0
    losses = {
        base: mixed_truth_loss(depth, truth=spoilt, truth_mask=everywhere, kind=kinds, base=base).ssi for base in BASES
    }
    assert losses["ssi_trimmed"] < 0.7 * losses["ssi"]


@pytest.mark.parametrize("base", BASES)
def test_a_mixed_batch_is_the_mean_of_its_samples(base):
    depth, truth = field(0, 4), field(1, 4)
    kinds, mask = torch.tensor([2, 3, 0, 1]), measured(depth)
    mask[2, ..., :10] = False  # few pixels, same weight
    pairs = random_pairs(mask, 50, generator=torch.Generator().manual_seed(0))
    together = mixed_truth_loss(depth, truth=truth, truth_mask=mask, kind=kinds, base=base, pairs=pairs)
    alone = [
        mixed_truth_loss(
            depth[i : i + 1],
            truth=truth[i : i + 1],
            truth_mask=mask[i : i + 1],
            kind=kinds[i : i + 1],
            base=base,
            pairs=PixelPairs(*(f[i : i + 1] for f in pairs)),
        )
        for i in range(4)
    ]
    torch.testing.assert_close(together.ssi, sum(alone[i].ssi for i in (0, 2, 3)) / 3)
    torch.testing.assert_close(together.gradient, sum(alone[i].gradient for i in (0, 2, 3)) / 3)
    torch.testing.assert_close(together.ranking, alone[1].ranking)
    assert alone[1].ssi == alone[1].gradient == alone[0].ranking == 0


def test_ordinal_truth_ranks_log_depth_and_only_its_order_counts():
    depth, mask = field(0, 2), measured(field(0, 2))
    pairs = random_pairs(mask, 200, generator=torch.Generator().manual_seed(3))
    kinds = torch.full((2,), int(DepthKind.ORDINAL))
    truth = field(1, 2)
    terms = mixed_truth_loss(depth, truth=truth, truth_mask=mask, kind=kinds, pairs=pairs)
    expected = ranking(depth.log(), target=truth, mask=mask, pairs=pairs, equal_ratio=1.0)
    torch.testing.assert_close(terms.ranking, expected)
    curved = mixed_truth_loss(depth, truth=truth.pow(3) - 40, truth_mask=mask, kind=kinds, pairs=pairs)
    assert curved == terms
    seeded = [
        mixed_truth_loss(
            depth, truth=truth, truth_mask=mask, kind=kinds, generator=torch.Generator().manual_seed(seed)
        ).ranking
        for seed in (1, 1, 2)
    ]
    assert seeded[0] == seeded[1] != seeded[2]


@pytest.mark.parametrize(
    ("alignment", "blind_to_scale", "blind_to_shift"),
    [("affine", True, True), ("scale", True, False), ("none", False, False)],
)
def test_metric_truth_may_be_compared_with_less_freedom(alignment, blind_to_scale, blind_to_shift):
    depth = field(0)
    mask = measured(depth)

    def loss(prediction, kind):
        return mixed_truth_loss(
            prediction, truth=depth, truth_mask=mask, kind=torch.tensor([kind]), metric_alignment=alignment
        ).ssi.item()

    assert loss(depth, DepthKind.METRIC) < 1e-9
    assert (loss(3 * depth, DepthKind.METRIC) < 1e-9) is blind_to_scale
    assert (loss(depth + 1, DepthKind.METRIC) < 1e-9) is blind_to_shift
    assert loss(3 * depth + 1, DepthKind.AFFINE_DEPTH) < 1e-9


def test_without_alignment_the_error_is_in_spreads_of_the_truth():
    depth = field(0)
    spread = (depth - depth.mean()).abs().mean()
    terms = mixed_truth_loss(
        depth + 0.5,
        truth=depth,
        truth_mask=torch.ones_like(depth, dtype=torch.bool),
        kind=torch.tensor([DepthKind.METRIC]),
        metric_alignment="none",
    )
    torch.testing.assert_close(terms.ssi, 0.5 / spread)


@pytest.mark.parametrize("base", BASES)
def test_a_reversed_prediction_is_led_back(base):
    truth = field(0)
    mask = torch.ones_like(truth, dtype=torch.bool)
    noise = field(5)
    losses = []
    for correlation in (-0.9, -0.5, 0.5, 0.9):
        prediction = 20 + correlation * truth + (1 - abs(correlation)) * noise
        losses.append(
            mixed_truth_loss(prediction, truth=truth, truth_mask=mask, kind=torch.tensor([1]), base=base).ssi.item()
        )
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("base", BASES)
def test_gradcheck(base):
    depth, truth = field(0, 4, (6, 7)).requires_grad_(True), field(1, 4, (6, 7))
    mask, kinds = measured(truth), torch.tensor([0, 1, 2, 3])
    pairs = random_pairs(mask, 30, generator=torch.Generator().manual_seed(0))

    def loss(d):
        return tuple(
            mixed_truth_loss(
                d, truth=truth, truth_mask=mask, kind=kinds, base=base, pairs=pairs, metric_alignment="scale"
            )
        )

    assert torch.autograd.gradcheck(loss, depth)


@pytest.mark.parametrize("base", BASES)
def test_what_is_not_measured_reaches_neither_value_nor_gradient(base):
    depth, truth = field(0, 6).float(), field(1, 6).float()
    mask, kinds = measured(truth), torch.tensor([0, 1, 2, 3, 2, 3])
    mask[4:] = False  # nothing measured at all
    pairs = random_pairs(mask, 30, generator=torch.Generator().manual_seed(0))
    results = []
    for value in (1.0, float("nan"), 0.0, -1.0):
        spoilt = depth.masked_fill(~mask, value).requires_grad_(True)
        terms = mixed_truth_loss(
            spoilt, truth=truth.masked_fill(~mask, value), truth_mask=mask, kind=kinds, base=base, pairs=pairs
        )
        (gradient,) = torch.autograd.grad(total(terms), spoilt)
        assert gradient.isfinite().all()
        assert torch.equal(gradient[~mask], torch.zeros_like(gradient[~mask]))
        results.append((*terms, gradient))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


@pytest.mark.parametrize("base", BASES)
def test_nothing_to_compare_is_a_zero_in_the_graph(base):
    depth = field(0, 4).float().requires_grad_(True)
    constant = torch.ones_like(depth)
    for truth_mask in (torch.zeros_like(depth, dtype=torch.bool), torch.ones_like(depth, dtype=torch.bool)):
        terms = mixed_truth_loss(depth, truth=constant, truth_mask=truth_mask, kind=torch.arange(4) % 3, base=base)
        assert terms == (0, 0, 0)
        (gradient,) = torch.autograd.grad(total(terms), depth)
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("base", BASES)
def test_a_constant_prediction_has_a_finite_gradient(base):
    depth = torch.full((3, 1, 12, 16), 2.0, requires_grad=True)
    truth = field(1, 3).float()
    terms = mixed_truth_loss(depth, truth=truth, truth_mask=measured(truth), kind=torch.arange(3), base=base)
    (gradient,) = torch.autograd.grad(total(terms), depth)
    assert gradient.isfinite().all()
    assert terms.ssi > 0


def test_a_nan_prediction_or_truth_stays_visible():
    depth, mask = field(0, 2), measured(field(0, 2))
    broken = torch.where(torch.arange(2).view(2, 1, 1, 1) == 0, float("nan"), depth)
    kinds = torch.tensor([1, 2])
    assert mixed_truth_loss(broken, truth=depth, truth_mask=mask, kind=kinds).ssi.isnan()
    assert mixed_truth_loss(depth, truth=broken, truth_mask=mask, kind=kinds).ssi.isnan()


def test_half_precision_is_computed_in_float32():
    depth, truth = field(0, 3).float(), field(1, 3).float()
    mask, kinds = measured(truth), torch.arange(3)
    rounded = depth.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = mixed_truth_loss(rounded, truth=truth, truth_mask=mask, kind=kinds)
    expected = mixed_truth_loss(rounded.float(), truth=truth, truth_mask=mask, kind=kinds)
    assert terms.ssi.dtype is torch.float32
    assert terms == expected


def test_bad_choices_are_refused():
    depth = field(0)
    arguments = {"truth": depth, "truth_mask": measured(depth), "kind": torch.tensor([0])}
    with pytest.raises(ValueError, match="base is 'l1'"):
        mixed_truth_loss(depth, **arguments, base="l1")
    with pytest.raises(ValueError, match="metric_alignment is 'shift'"):
        mixed_truth_loss(depth, **arguments, metric_alignment="shift")
    with pytest.raises(ValueError, match=r"kind has the shape \(2,\)"):
        mixed_truth_loss(depth, **(arguments | {"kind": torch.zeros(2)}))
