"""Pairwise affinity against the released BoxInst, scikit-image, loops over pairs, and the plain formulation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from benchmarks.pairwise import plain_pairwise
from geometry.boxes import NEIGHBOUR_OFFSETS
from losses import pairwise_affinity
from losses.pairwise_affinity import (
    colour_similarity,
    count_pairs,
    depth_similarity,
    pair_weights,
    pairwise_loss,
    rgb_to_lab,
    without_bottom,
)

GOLDEN = Path(__file__).parents[1] / "golden"


def golden() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / "boxinst_pairwise.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def case(dtype: torch.dtype = torch.float32, n: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, weights and box masks; some weights point out of the image."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(n, 1, 7, 9, generator=generator, dtype=dtype)
    weights = torch.rand(n, 8, 7, 9, generator=generator) > 0.4
    box_masks = torch.rand(n, 1, 7, 9, generator=generator) > 0.3
    return logits, weights, box_masks


def slow_similarity(values: np.ndarray, mask: np.ndarray, scale: float, *, both: bool) -> np.ndarray:
    """Of ``(h, w, C)`` values, pair by pair."""
    height, width = mask.shape
    result = np.zeros((8, height, width))
    for edge, (step_y, step_x) in enumerate(NEIGHBOUR_OFFSETS):
        for y in range(height):
            for x in range(width):
                v, u = y + 2 * step_y, x + 2 * step_x
                if 0 <= v < height and 0 <= u < width and mask[v, u] and (mask[y, x] or not both):
                    result[edge, y, x] = np.exp(-scale * np.linalg.norm(values[y, x] - values[v, u]))
    return result


@pytest.mark.parametrize("edge", range(8))
def test_loss_of_every_neighbour_equals_the_released_boxinst(edge):
    expected = golden()
    logits = expected["mask_logits"]
    assert (expected["neighbour_order_dy_dx"][edge] // 2).tolist() == list(NEIGHBOUR_OFFSETS[edge])
    for row, column in ((0, 0), (11, 5), (17, 55), (39, 30)):
        weights = torch.zeros(4, 8, *logits.shape[2:])
        weights[:, edge, row, column] = 1
        for i in range(4):
            one = slice(i, i + 1)
            loss = pairwise_loss(
                logits[one], weights=weights[one], box_masks=torch.ones_like(logits[one], dtype=torch.bool)
            )
            expected_loss = expected["loss_map_N_8_H_W"][i, edge, row, column].item()
            assert loss.item() == pytest.approx(expected_loss, rel=1e-4, abs=1e-6)


def test_sum_and_gradient_equal_the_released_boxinst():
    expected = golden()
    logits = expected["mask_logits"].requires_grad_()
    weights = torch.ones(4, 8, *logits.shape[2:], dtype=torch.bool)
    loss = pairwise_loss(logits, weights=weights, box_masks=torch.ones_like(logits, dtype=torch.bool)) * weights.sum()
    loss.backward()
    np.testing.assert_allclose(loss.detach(), expected["loss_map_N_8_H_W"].double().sum(), rtol=1e-5)
    np.testing.assert_allclose(logits.grad, expected["grad_of_sum"], rtol=1e-4, atol=1e-5)


def test_value_and_gradient_equal_the_plain_formulation():
    logits, weights, box_masks = case()
    leaf, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = pairwise_loss(leaf, weights=weights, box_masks=box_masks)
    expected = plain_pairwise(other, weights.float(), box_masks)
    (3 * loss).backward()
    (3 * expected).backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("pixels", [1, 130, 2**20])
def test_chunks_do_not_change_the_result(monkeypatch, pixels):
    logits, weights, box_masks = case(torch.float64, n=5)
    index = torch.tensor([0, 2, 2, 1, 0])
    expected = plain_pairwise(logits, weights[index].double(), box_masks)
    monkeypatch.setattr(pairwise_affinity, "CPU_CHUNK_PIXELS", pixels)
    found = pairwise_loss(logits, weights=weights[:3], box_masks=box_masks, image_index=index)
    torch.testing.assert_close(found, expected)
    found = pairwise_loss(logits, weights=weights[index], box_masks=box_masks)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_fractional_weights_and_other_dilations_equal_the_plain_formulation(dilation):
    logits, weights, box_masks = case()
    weights = weights * torch.rand(weights.shape, generator=torch.Generator().manual_seed(1))
    loss = pairwise_loss(logits, weights=weights, box_masks=box_masks, dilation=dilation)
    torch.testing.assert_close(loss, plain_pairwise(logits, weights, box_masks, dilation=dilation))


def test_weights_of_images_are_those_of_their_instances():
    logits, weights, box_masks = case(n=5)
    index = torch.tensor([0, 2, 2, 1, 0])
    found = pairwise_loss(logits, weights=weights[:3], box_masks=box_masks, image_index=index)
    expected = pairwise_loss(logits, weights=weights[index], box_masks=box_masks)
    assert torch.equal(found, expected)


def test_confident_pixels_keep_their_precision():
    box_masks = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    weights = torch.zeros(1, 8, 1, 3)
    weights[0, 4, 0, 0] = 1  # from the first pixel to the third
    for a, b in ((-12.0, -9.0), (12.0, 9.0), (80.0, -90.0), (-200.0, 150.0), (300.0, 300.0)):
        values = np.array([a, b], dtype=np.longdouble)
        inside, outside = -np.logaddexp(0, -values).sum(), -np.logaddexp(0, values).sum()
        expected = -np.logaddexp(inside, outside)
        logits = torch.tensor([a, 0, b]).view(1, 1, 1, 3).requires_grad_()
        loss = pairwise_loss(logits, weights=weights, box_masks=box_masks)
        loss.backward()
        assert loss.item() == pytest.approx(float(expected), rel=1e-4, abs=2e-7)
        assert logits.grad.isfinite().all()
        if abs(a + b) > 20 and a * b < 0:
            assert logits.grad.abs().max().item() == pytest.approx(1, rel=1e-5)


def test_gradcheck():
    logits, weights, box_masks = case(torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: pairwise_loss(x, weights=weights, box_masks=box_masks), logits.requires_grad_()
    )


def test_without_gradient_nothing_is_kept():
    logits, weights, box_masks = case()
    expected = pairwise_loss(logits.requires_grad_(), weights=weights, box_masks=box_masks)
    with torch.no_grad():
        found = pairwise_loss(logits, weights=weights, box_masks=box_masks)
    assert not found.requires_grad
    assert torch.equal(found, expected.detach())


def test_number_of_pairs_is_the_normaliser_of_the_loss():
    logits, weights, box_masks = case()
    image = torch.tensor([1, 0, 1])[: len(logits)]
    selected = weights[:2] > 0.5
    number = count_pairs(selected, box_masks=box_masks, image_index=image)
    assert float(number) == int((selected[image] & box_masks).sum()) > 1
    mean = pairwise_loss(logits, weights=selected, box_masks=box_masks, image_index=image)
    # Three times the weights are three times the sum and three times the normaliser.
    weighted = pairwise_loss(logits, weights=3.0 * selected, box_masks=box_masks, image_index=image)
    torch.testing.assert_close(mean, weighted)
    total = pairwise_loss(logits, weights=selected / number, box_masks=box_masks, image_index=image)  # sum below 1
    torch.testing.assert_close(mean, total)


def test_half_precision_is_raised():
    logits, weights, box_masks = case()
    leaf = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pairwise_loss(leaf, weights=weights, box_masks=box_masks)
    found.backward()
    expected = pairwise_loss(logits.bfloat16().float(), weights=weights, box_masks=box_masks)
    assert torch.equal(found.detach(), expected)
    assert leaf.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("instances", [0, 3])
def test_nothing_to_compare_is_a_zero_in_the_graph(instances):
    logits, weights, box_masks = case()
    leaf = logits[:instances].clone().requires_grad_()
    loss = pairwise_loss(leaf, weights=weights[:instances], box_masks=torch.zeros_like(box_masks[:instances]))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(leaf.grad, torch.zeros_like(leaf))


def test_no_instances_of_an_image_are_a_zero_in_the_graph():
    logits, weights, box_masks = case()
    leaf = logits[:0].clone().requires_grad_()
    index = torch.zeros(0, dtype=torch.int64)
    loss = pairwise_loss(leaf, weights=weights, box_masks=box_masks[:0], image_index=index)
    loss.backward()
    assert loss.item() == 0


def test_lab_equals_skimage():
    generator = np.random.default_rng(0)
    levels = generator.integers(0, 256, (2, 40, 50, 3)).astype(np.uint8)
    levels[0, :16] = np.arange(16)[:, None, None]  # dark greys cross both kinks
    image = torch.from_numpy(levels).permute(0, 3, 1, 2) / 255
    found = rgb_to_lab(image).permute(0, 2, 3, 1)
    np.testing.assert_allclose(found, rgb2lab(levels), atol=2e-4)
    exact = rgb_to_lab(torch.from_numpy(levels / 255.0).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(exact, rgb2lab(levels), atol=1e-9)


def test_colour_similarity_equals_skimage_and_a_loop_over_pairs():
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 200, (2, 8, 12, 3))
    coarse[:, :, 4:] = 100 + coarse[:, :, 4:] // 40  # nearly alike, so that similarities of all sizes occur
    coarse = coarse.repeat(4, axis=1).repeat(4, axis=2)
    levels = (coarse + generator.integers(0, 20, coarse.shape)).astype(np.uint8)
    mask = np.ones((2, 32, 48), dtype=bool)
    mask[0, 20:] = False
    mask[1, :, 41:] = False
    image = torch.from_numpy(levels).permute(0, 3, 1, 2) / 255
    found = colour_similarity(image, image_mask=torch.from_numpy(mask).unsqueeze(1))
    assert found.dtype == torch.float32
    for b in range(2):
        small = levels[b].reshape(8, 4, 12, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
        expected = slow_similarity(rgb2lab(small), mask[b, 2::4, 2::4], 0.5, both=False)
        np.testing.assert_allclose(found[b], expected, atol=1e-4)
        assert 0.05 < (expected >= 0.3).mean() < 0.95


def test_every_level_survives_rounding_and_reduction():
    levels = torch.arange(256).view(1, 1, 1, 256).expand(1, 3, 1, 256).repeat_interleave(4, 3).repeat(1, 1, 4, 1)
    image = torch.nextafter(levels / 255, torch.tensor(0.0))
    seen = []

    def remember(reduced):
        seen.append(reduced)
        return torch.zeros_like(reduced)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairwise_affinity, "rgb_to_lab", remember)
        colour_similarity(image, image_mask=torch.ones(1, 1, 4, 1024, dtype=torch.bool))
    assert (255 * seen[0][0, 0, 0]).round().tolist() == list(range(256))


def test_the_neighbour_has_to_be_real_but_the_pixel_itself_need_not():
    mask = torch.ones(1, 1, 40, 40, dtype=torch.bool)
    mask[..., 20:] = False
    found = colour_similarity(torch.full((1, 3, 40, 40), 0.4), image_mask=mask)
    right, left = found[0, 4, 4], found[0, 3, 4]  # of the row in the middle
    assert right.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert left.tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0, 0]


def test_depth_similarity_equals_a_loop_over_pairs():
    generator = np.random.default_rng(0)
    depth, mask = generator.random((2, 7, 9)).astype(np.float32), generator.random((2, 7, 9)) > 0.2
    holes = torch.from_numpy(np.where(mask, depth, np.nan)).unsqueeze(1)
    found = depth_similarity(holes, depth_scale=3.0, depth_mask=torch.from_numpy(mask).unsqueeze(1))
    full = depth_similarity(torch.from_numpy(depth).unsqueeze(1), depth_scale=3.0)
    for b in range(2):
        expected = slow_similarity(depth[b, ..., None], mask[b], 3.0, both=True)
        np.testing.assert_allclose(found[b], expected, rtol=1e-5)
        expected = slow_similarity(depth[b, ..., None], np.ones_like(mask[b]), 3.0, both=True)
        np.testing.assert_allclose(full[b], expected, rtol=1e-5)


def test_the_scale_gives_the_threshold_its_meaning():
    depth = torch.linspace(0, 1, 12).view(1, 1, 1, 12)
    kept = [pair_weights("depth", depth=depth_similarity(depth, depth_scale=s))[0, 4, 0] for s in (1.0, 3.0, 10.0)]
    # Neighbours two pixels apart differ by 2 / 11; a scale of s keeps what differs by less than log(2) / s.
    assert [gate[:10].all().item() for gate in kept] == [True, True, False]
    assert not any(gate[10:].any() for gate in kept)


def test_gates_are_the_published_thresholds():
    colour = torch.tensor([0.29, 0.3, 0.9, 0.9, 0.1]).view(1, 1, 1, 5).expand(1, 8, 1, 5)
    depth = torch.tensor([0.9, 0.51, 0.5, 0.51, 0.0]).view(1, 1, 1, 5).expand(1, 8, 1, 5)
    gates = {
        gate: pair_weights(gate, colour=colour, depth=depth)[0, 0, 0].tolist() for gate in ("colour", "depth", "both")
    }
    assert gates["colour"] == [False, True, True, True, False]
    assert gates["depth"] == [True, True, False, True, False]
    assert gates["both"] == [False, True, False, True, False]
    looser = pair_weights("both", colour=colour, depth=depth, colour_threshold=0.2, depth_threshold=0.4)
    assert looser[0, 0, 0].tolist() == [True, True, True, True, False]


def test_bottom_rows_are_those_of_the_real_image():
    mask = torch.zeros(3, 1, 12, 8, dtype=torch.bool)
    mask[0, :, :10, :6] = True
    mask[1, :, :12] = True
    mask[2, :, :3] = True
    found = without_bottom(mask, rows=torch.tensor([2.9, 0.0, 7.0]))
    expected = mask.clone()
    expected[0, :, 8:] = False
    expected[2] = False
    assert torch.equal(found, expected)


def test_bad_input_is_named():
    logits, weights, box_masks = case()
    image, mask = torch.zeros(1, 3, 8, 12), torch.ones(1, 1, 8, 12, dtype=torch.bool)
    similarity = torch.zeros(1, 8, 2, 3)
    calls = [
        (lambda: pairwise_loss(logits, weights=weights, box_masks=box_masks.float()), r"torch\.float32"),
        (lambda: pairwise_loss(logits, weights=weights[:, :7], box_masks=box_masks), r"shape \(3, 7, 7, 9\)"),
        (lambda: pairwise_loss(logits, weights=weights[:2], box_masks=box_masks), "3 instances, but .* of 2"),
        (
            lambda: pairwise_loss(logits, weights=weights, box_masks=box_masks, image_index=torch.zeros(2).long()),
            "3 instances, but .* of 2",
        ),
        (lambda: rgb_to_lab(image[:, :2]), r"shape \(1, 2, 8, 12\)"),
        (lambda: colour_similarity(image, image_mask=mask.float()), r"torch\.float32"),
        (lambda: colour_similarity(image, image_mask=mask, stride=3), "stride is 3"),
        (lambda: depth_similarity(image, depth_scale=1), r"shape \(1, 3, 8, 12\)"),
        (lambda: depth_similarity(image[:, :1], depth_scale=0), "depth_scale is 0"),
        (lambda: depth_similarity(image[:, :1], depth_scale=1, depth_mask=mask[..., :3]), "depth_mask is"),
        (lambda: pair_weights("colours"), "pair_gate is 'colours'"),
        (lambda: pair_weights("both", colour=similarity), "no depth similarity"),
        (lambda: pair_weights("colour", depth=similarity), "no colour similarity"),
        (lambda: pair_weights("both", colour=similarity, depth=similarity[..., :2]), r"\(1, 8, 2, 2\)"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
