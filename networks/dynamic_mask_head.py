"""Mask heads with predicted weights for each instance (CondInst), with or without a depth layer."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geometry.boxes import pixel_locations
from geometry.resampling import aligned_bilinear
from geometry.stencils import at_least_float32

COORDINATES = 2
"""Channels of the relative coordinates: x, y."""


class DynamicLayer(NamedTuple):
    """A 1x1 convolution with separate weights for each instance."""

    weight: Tensor
    """(N, out, in)"""
    bias: Tensor
    """(N, out)"""


class MaskOutputs(NamedTuple):
    """Outputs of the mask heads of N instances."""

    logits: Tensor
    """(N, 1, h, w) logit of "this pixel belongs to the instance"."""
    depth: Tensor | None
    """(N, 1, h, w) predicted nearness in [0, 1], 1 = near; None without a depth layer."""


def layer_shapes(mask_channels: int, *, channels: int = 8) -> list[tuple[int, int]]:
    """(out, in) of every layer of a mask head: two hidden ones, and the mask's.

    Args:
        mask_channels: channels of the shared features.
        channels: channels of the hidden layers.
    """
    return [(channels, mask_channels + COORDINATES), (channels, channels), (1, channels)]


def count_parameters(shapes: list[tuple[int, int]]) -> int:
    """Length of the vector of all weights and biases: 233 for 16 mask channels, and 9 for a depth layer."""
    return sum(out * inputs + out for out, inputs in shapes)


def parse_parameters(parameters: Tensor, shapes: list[tuple[int, int]]) -> list[DynamicLayer]:
    """Layers from parameter vectors: the weights of all layers (row-major, out before in), then all biases.

    Args:
        parameters: (N, G).
        shapes: (out, in) of every layer.

    Returns:
        The layers.

    Raises:
        ValueError: G is not the number of weights and biases.
    """
    expected = count_parameters(shapes)
    if parameters.ndim != 2 or parameters.shape[1] != expected:
        raise ValueError(f"The parameters must be (N, {expected}) for these layers, got {tuple(parameters.shape)}.")
    sizes = [out * inputs for out, inputs in shapes] + [out for out, _ in shapes]
    parts = parameters.split(sizes, dim=1)
    return [
        DynamicLayer(weight.unflatten(1, (out, inputs)), bias)
        for weight, bias, (out, inputs) in zip(parts, parts[len(shapes) :], shapes, strict=False)
    ]


def relative_coordinates(pixels: Tensor, locations: Tensor, sizes: Tensor) -> Tensor:
    """Coordinates of the instance's location relative to each pixel, in units of the instance's size.

    Args:
        pixels: (P, 2) image positions (x, y).
        locations: (N, 2) image positions of the instances.
        sizes: (N,) divisor: the size of interest of the instance's level, pixels.

    Returns:
        (N, 2, P): (location - pixel) / size, x first.
    """
    return ((locations[:, None] - pixels[None]) / sizes[:, None, None]).transpose(1, 2)


class DynamicMaskHead(nn.Module):
    """Three 1x1 convolutions, with weights of each instance, on the shared mask features and relative coordinates.

    CondInst, https://arxiv.org/abs/2003.05664. The instances of all images of a step are processed in one grouped
    convolution for each layer, one group for each instance. With a depth layer (https://arxiv.org/abs/2403.01214,
    details are this project's), a further 1x1 convolution on the last hidden layer predicts nearness in [0, 1], which
    multiplies the mask's logit at the stride of the features; both are upsampled afterwards.

    The head has no weights of its own: they are arguments of every call.

    Args:
        mask_channels: channels of the shared features.
        stride: of the shared features, even, pixels; the result has half of it.
        channels: channels of the hidden layers.
        depth_guided: whether there is a depth layer.

    Attributes:
        parameters_per_instance: length of the whole vector, the depth layer's part last.
        parameters_of_mask: length of the mask's part, which is the same with and without a depth layer.
        parameters_of_depth: length of the vector of the depth layer, 0 without one.
        upsampling: factor from the features to the result.

    Raises:
        ValueError: a size that is not positive, or an odd stride.
    """

    def __init__(
        self, mask_channels: int = 16, *, stride: int = 8, channels: int = 8, depth_guided: bool = False
    ) -> None:
        super().__init__()
        if min(mask_channels, channels) < 1:
            raise ValueError(f"mask_channels and channels must be positive, got {mask_channels} and {channels}.")
        if stride < 2 or stride % 2 != 0:
            raise ValueError(f"The stride must be even and positive, got {stride}.")
        self.shapes = layer_shapes(mask_channels, channels=channels)
        self.depth_shapes = [(1, channels)] if depth_guided else []
        self.parameters_of_mask = count_parameters(self.shapes)
        self.parameters_of_depth = count_parameters(self.depth_shapes)
        self.parameters_per_instance = self.parameters_of_mask + self.parameters_of_depth
        self.stride = stride
        self.depth_guided = depth_guided
        self.upsampling = 2

    def forward(
        self, features: Tensor, *, parameters: Tensor, image_index: Tensor, locations: Tensor, sizes: Tensor
    ) -> MaskOutputs:
        """Mask logits (and depth) of every instance from the features of its image, in at least float32.

        Args:
            features: (B, mask_channels, h, w) of the images of the step.
            parameters: (N, parameters_per_instance).
            image_index: int64 (N,), the image of each instance.
            locations: (N, 2) image position (x, y) of each instance, pixels.
            sizes: (N,) size of interest of each instance's level, pixels.

        Returns:
            Logits, and depth if there is a depth layer, both (N, 1, 2 h, 2 w). Without instances (N = 0) they are
            empty and still in the graph.

        Raises:
            ValueError: parameters of another length.
        """
        # The losses take logarithms of the logits, and the layers are too small for half precision to save time.
        with torch.autocast(features.device.type, enabled=False):
            of_mask, of_depth = self._split(at_least_float32(parameters))
            first, second, mask_layer = parse_parameters(of_mask, self.shapes)
            depth_layer = parse_parameters(of_depth, self.depth_shapes)
            inputs = self._inputs(at_least_float32(features), image_index, locations, sizes)
            hidden = F.relu(_apply(second, F.relu(_apply(first, inputs))))
            logits = _apply(mask_layer, hidden)
            if not depth_layer:
                return MaskOutputs(aligned_bilinear(logits, self.upsampling), None)
            depth = torch.sigmoid(_apply(depth_layer[0], hidden))
            return MaskOutputs(
                aligned_bilinear(logits * depth, self.upsampling), aligned_bilinear(depth, self.upsampling)
            )

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters of the mask and of the depth layer."""
        expected = self.parameters_per_instance
        if parameters.ndim != 2 or parameters.shape[1] != expected:
            raise ValueError(f"The parameters must be (N, {expected}) for this head, got {tuple(parameters.shape)}.")
        return parameters[:, : self.parameters_of_mask], parameters[:, self.parameters_of_mask :]

    def _inputs(self, features: Tensor, image_index: Tensor, locations: Tensor, sizes: Tensor) -> Tensor:
        """Relative coordinates and features of each instance, (N, 2 + mask_channels, h, w)."""
        height, width = features.shape[-2:]
        pixels = pixel_locations((height, width), self.stride, device=features.device).to(features)
        relative = relative_coordinates(pixels, locations.to(features), sizes.to(features))
        return torch.cat((relative.unflatten(2, (height, width)), features[image_index]), dim=1)


def _apply(layer: DynamicLayer, inputs: Tensor) -> Tensor:
    """A 1x1 convolution with weights of each instance, (N, in, h, w) to (N, out, h, w), as one grouped convolution."""
    count, out, channels = layer.weight.shape
    height, width = inputs.shape[-2:]
    if count == 0:  # a convolution needs at least one group; the matrix product keeps inputs and weights in the graph
        return (layer.weight @ inputs.flatten(2) + layer.bias[..., None]).unflatten(2, (height, width))
    grouped = F.conv2d(
        inputs.reshape(1, count * channels, height, width),
        layer.weight.reshape(count * out, channels, 1, 1),
        layer.bias.reshape(count * out),
        groups=count,
    )
    return grouped.view(count, out, height, width)
