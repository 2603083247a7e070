"""Multi-scale gradient matching against a numpy loop: per image and per batch, by pixels and by pairs."""

import numpy as np
import pytest
import torch

from losses.gradient_matching import gradient_matching, gradient_matching_per_image


def sample(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    residual = torch.randn(3, 1, 11, 14, generator=generator, dtype=torch.float64)
    return residual, torch.rand(residual.shape, generator=generator) > 0.3


def sums(residual: np.ndarray, mask: np.ndarray, spacing: int) -> tuple[float, int, int]:
    """Sum of the differences of one ``(H, W)`` map, its number of pixels and its number of pairs."""
    total, pairs = 0.0, 0
    for y, x in np.argwhere(mask):
        for other in ((y + spacing, x), (y, x + spacing)):
            if other[0] < mask.shape[0] and other[1] < mask.shape[1] and mask[other]:
                total += abs(residual[other] - residual[y, x])
                pairs += 1
    return total, int(mask.sum()), pairs


@pytest.mark.parametrize(("spacing", "per_pair"), [(1, False), (2, True)])
def test_each_image_and_the_batch_equal_a_loop(spacing, per_pair):
    residual, mask = sample()
    each, whole = np.zeros(3), 0.0
    for scale in (1, 2, 4):
        parts = [
            sums(residual[i, 0, ::scale, ::scale].numpy(), mask[i, 0, ::scale, ::scale].numpy(), spacing)
            for i in range(3)
        ]
        counts = [pairs if per_pair else pixels for _, pixels, pairs in parts]
        each += [total / count for (total, _, _), count in zip(parts, counts, strict=True)]
        whole += sum(total for total, _, _ in parts) / sum(counts)
    options = {"scales": 3, "spacing": spacing, "per_pair": per_pair}
    np.testing.assert_allclose(gradient_matching_per_image(residual, mask, **options).numpy(), each, rtol=1e-12)
    assert gradient_matching(residual, mask, **options).item() == pytest.approx(whole, rel=1e-12)


def test_an_empty_mask_is_a_zero_in_the_graph_and_a_nan_outside_stays_out():
    residual, mask = sample()
    mask[0] = False
    leaf = residual.masked_fill(~mask, float("nan")).requires_grad_(True)
    loss = gradient_matching_per_image(leaf, mask, scales=2)
    assert loss[0] == 0
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    assert gradient.isfinite().all()
    assert not gradient[~mask].any()
    torch.testing.assert_close(loss, gradient_matching_per_image(residual, mask, scales=2), rtol=0, atol=0)
