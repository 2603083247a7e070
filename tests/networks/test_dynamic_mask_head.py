"""Dynamic mask head against the released code and against one small network for each instance."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from geometry.boxes import pixel_locations
from geometry.resampling import aligned_bilinear
from networks.dynamic_mask_head import (
    DynamicMaskHead,
    count_parameters,
    layer_shapes,
    parse_parameters,
    relative_coordinates,
)

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def golden():
    with np.load(GOLDEN / "condinst_dynamic_head.npz") as data:
        return {name: torch.from_numpy(data[name]) for name in data}


def make_case(count=3, **options):
    """Features of two images and instances of both, in double precision."""
    head = DynamicMaskHead(3, stride=8, channels=4, **options)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 4, 6, generator=generator, dtype=torch.float64)
    case = {
        "parameters": torch.randn(count, head.parameters_per_instance, generator=generator, dtype=torch.float64),
        "image_index": torch.arange(count) % 2,
        "locations": 40 * torch.rand(count, 2, generator=generator, dtype=torch.float64),
        "sizes": torch.tensor([64.0, 128.0, 256.0], dtype=torch.float64)[torch.arange(count) % 3],
    }
    return head, features, case


def pixel_by_pixel(features, parameters, image, location, size):
    """Logits and depth of one instance at the stride of the features, by matrix products of single pixels."""
    width, (w0, w1, w2, w3), (b0, b1, b2, b3) = 4, *_take_apart(parameters)
    logits, depth = features.new_zeros(4, 6), features.new_zeros(4, 6)
    for row in range(4):
        for column in range(6):
            pixel = torch.tensor([8 * column + 4, 8 * row + 4])
            x = torch.cat(((location - pixel) / size, features[image, :, row, column]))
            x = (w0.view(width, 5) @ x + b0).clamp(min=0)
            x = (w1.view(width, width) @ x + b1).clamp(min=0)
            depth[row, column] = 1 / (1 + torch.exp(-(w3 @ x + b3)))
            logits[row, column] = (w2 @ x + b2) * depth[row, column]
    return logits, depth


def _take_apart(parameters):
    """Of the mask's three layers the weights, then the biases; then the depth layer's."""
    weights = parameters[:20], parameters[20:36], parameters[36:40], parameters[49:53]
    biases = parameters[40:44], parameters[44:48], parameters[48], parameters[53]
    return weights, biases


def test_parameters_of_the_papers():
    assert count_parameters(layer_shapes(16)) == 233
    assert count_parameters(layer_shapes(8)) == 169
    guided = DynamicMaskHead(16, depth_guided=True)
    assert (guided.parameters_of_mask, guided.parameters_of_depth, guided.parameters_per_instance) == (233, 9, 242)
    plain = DynamicMaskHead(16)
    assert (plain.parameters_of_mask, plain.parameters_of_depth, plain.parameters_per_instance) == (233, 0, 233)


def test_parsing_equals_the_released_code(golden):
    layers = parse_parameters(golden["params"], layer_shapes(16))
    assert len(layers) == 3
    for i, layer in enumerate(layers):
        assert torch.equal(layer.weight, golden[f"w{i}"])
        assert torch.equal(layer.bias, golden[f"b{i}"])


def test_relative_coordinates_equal_the_released_code(golden):
    pixels = pixel_locations((20, 28), 8)
    assert torch.equal(pixels, golden["locations_grid_xy"])
    sizes = golden["sizes_of_interest"][golden["fpn_levels"]].float()
    relative = relative_coordinates(pixels, golden["locations_xy"], sizes)
    np.testing.assert_allclose(relative, golden["relative_coords_n_2_HW"], rtol=1e-5, atol=1e-6)


def test_logits_equal_the_released_code(golden):
    outputs = DynamicMaskHead(16, stride=8)(
        golden["mask_feats"],
        parameters=golden["params"],
        image_index=golden["im_inds"],
        locations=golden["locations_xy"],
        sizes=golden["sizes_of_interest"][golden["fpn_levels"]],
    )
    assert outputs.depth is None
    np.testing.assert_allclose(outputs.logits, golden["mask_logits_stride4"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(aligned_bilinear(golden["mask_logits_stride8"], 2), outputs.logits, rtol=1e-4, atol=1e-5)


def test_depth_multiplies_the_logit_before_both_are_enlarged():
    head, features, case = make_case(depth_guided=True)
    outputs = head(features, **case)
    assert outputs.logits.shape == outputs.depth.shape == (3, 1, 8, 12)
    for i in range(3):
        logits, depth = pixel_by_pixel(
            features, case["parameters"][i], case["image_index"][i], case["locations"][i], case["sizes"][i]
        )
        torch.testing.assert_close(outputs.logits[i : i + 1], aligned_bilinear(logits[None, None], 2))
        torch.testing.assert_close(outputs.depth[i : i + 1], aligned_bilinear(depth[None, None], 2))


def test_instances_of_all_images_at_once_equal_one_after_another():
    head, features, case = make_case(5)
    together = head(features, **case).logits
    for i in range(5):
        alone = head(features, **{name: value[i : i + 1] for name, value in case.items()}).logits
        torch.testing.assert_close(together[i : i + 1], alone)


def test_gradients_reach_features_and_parameters():
    head, features, case = make_case(2, depth_guided=True)
    features, parameters = features.requires_grad_(), case.pop("parameters").requires_grad_()

    def run(features, parameters):
        return tuple(head(features, parameters=parameters, **case))

    assert torch.autograd.gradcheck(run, (features, parameters))


@pytest.mark.parametrize("depth_guided", [False, True])
def test_no_instance_gives_empty_maps_that_are_in_the_graph(depth_guided):
    head, features, case = make_case(0, depth_guided=depth_guided)
    features.requires_grad_()
    case["parameters"].requires_grad_()
    outputs = head(features, **case)
    assert outputs.logits.shape == (0, 1, 8, 12)
    (outputs.logits.sum() + (outputs.depth.sum() if depth_guided else 0)).backward()
    assert torch.equal(features.grad, torch.zeros_like(features))
    assert case["parameters"].grad.shape == case["parameters"].shape


def test_half_precision_inputs_are_computed_in_full():
    head, features, case = make_case()
    case = {name: value.float() if value.is_floating_point() else value for name, value in case.items()}
    expected = head(features.bfloat16().float(), **case).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(features.bfloat16(), **case).logits
    assert logits.dtype == torch.float32
    torch.testing.assert_close(F.relu(logits), F.relu(expected))


def test_bad_input_is_named():
    head, features, case = make_case()
    with pytest.raises(ValueError, match=r"must be \(N, 49\) for this head, got \(3, 48\)"):
        head(features, **case | {"parameters": case["parameters"][:, :-1]})
    with pytest.raises(ValueError, match="stride must be even and positive, got 7"):
        DynamicMaskHead(3, stride=7)
    with pytest.raises(ValueError, match="must be positive, got 0 and 8"):
        DynamicMaskHead(0)
