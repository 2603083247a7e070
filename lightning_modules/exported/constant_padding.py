"""TensorFlow's padding ("same") with constants, for graphs whose images have sides that the strides divide."""

import copy

from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F


class ConstantSame(Conv2dSame):
    """A convolution that pads as :class:`timm.layers.Conv2dSame` does where its stride divides the input's sides.

    timm rounds the output's size up, which is an expression of the size of the image. In a graph for any size each
    layer adds a ceiling around that of the layer before, and torch does not simplify five of them within minutes. With
    a size that the stride divides, the padding is ``dilation * (kernel - 1) + 1 - stride``, or 0 if that is negative.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(B, C, H, W)``, H and W multiples of the stride, to ``(B, C', H / stride, W / stride)``."""
        padding: list[int] = []
        for axis in (1, 0):  # F.pad begins with the last dimension
            total = max(self.dilation[axis] * (self.kernel_size[axis] - 1) + 1 - self.stride[axis], 0)
            padding += [total // 2, total - total // 2]
        return F.conv2d(
            F.pad(x, padding), self.weight, self.bias, self.stride, dilation=self.dilation, groups=self.groups
        )


def with_constant_padding(graph: nn.Module) -> nn.Module:
    """A copy of a graph in which every :class:`timm.layers.Conv2dSame` is a :class:`ConstantSame` with its weights.

    Args:
        graph: Any module. It stays as it is.
    """
    copied = copy.deepcopy(graph)
    for module in copied.modules():
        if type(module) is Conv2dSame:
            module.__class__ = ConstantSame  # the same parameters and hooks, another forward
    return copied
