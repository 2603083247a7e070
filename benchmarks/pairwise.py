"""The mask losses of BoxInst, pairwise and projection, against the plain formulation of both.

Timed are the losses and their gradient with respect to the mask logits, at 64 instances of two images of 800x1216. The
reference unfolds the log-probabilities into a map for each neighbour, lets autograd keep them, and takes the sigmoid of
every pixel before the maxima. The thresholded colour similarity of each image is given to both.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.self_supervised_step import peak_bytes
from benchmarks.timing import median_seconds
from geometry.boxes import box_masks
from losses.pairwise_affinity import pairwise_loss
from losses.projection import projection_loss

SIZE = (64, 200, 304)
"""Instances, height and width of the maps."""
STRIDE = 4
N_IMAGES = 2
REPEATS = 3
TOLERANCE = 1e-5
"""Largest difference of a loss, and of the gradient relative to its largest entry."""

Scene = dict[str, Tensor]
Losses = Callable[[Scene], Tensor]


def make_scene(instances: int, height: int, width: int, device: str = "cpu") -> Scene:
    """Logits that follow their boxes as in training, boxes of all sizes, and weights of 60 % of the pairs."""
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor([width, height, width, height]) * STRIDE
    ends = torch.rand(instances, 2, 2, generator=generator).sort(dim=1).values
    boxes = ends.flatten(1) * size
    inside = box_masks(boxes, (height * STRIDE, width * STRIDE), stride=STRIDE).unsqueeze(1)
    noise = 2 * torch.randn(instances, 1, height, width, generator=generator)
    scene = {
        "logits": (noise + 6 * inside.float() - 3).to(device).requires_grad_(),
        "box_masks": inside,
        "weights": torch.rand(N_IMAGES, 8, height, width, generator=generator) < 0.6,
        "image_index": torch.arange(instances) * N_IMAGES // max(instances, 1),
    }
    return {name: values.to(device) if name != "logits" else values for name, values in scene.items()}


def ours(scene: Scene) -> Tensor:
    """The losses as they are trained with."""
    logits, inside = scene["logits"], scene["box_masks"]
    pairwise = pairwise_loss(logits, weights=scene["weights"], box_masks=inside, image_index=scene["image_index"])
    return torch.stack([pairwise, projection_loss(logits, box_masks=inside)])


def _unfolded(values: Tensor, dilation: int) -> Tensor:
    """``(N, 8, h, w)``: the eight neighbours of every pixel, zero outside of the map."""
    windows = F.unfold(values, 3, dilation=dilation, padding=dilation).view(-1, 9, *values.shape[2:])
    return torch.cat([windows[:, :4], windows[:, 5:]], dim=1)


def plain_pairwise(logits: Tensor, weights: Tensor, inside: Tensor, *, dilation: int = 2) -> Tensor:
    """The pairwise loss with a map for each neighbour.

    Args:
        logits: ``(N, 1, h, w)``.
        weights: ``(N, 8, h, w)``.
        inside: ``(N, 1, h, w)``.
        dilation: distance to the neighbours.
    """
    log_inside, log_outside = F.logsigmoid(logits), F.logsigmoid(-logits)
    both_inside = log_inside + _unfolded(log_inside, dilation)
    both_outside = log_outside + _unfolded(log_outside, dilation)
    larger = torch.max(both_inside, both_outside)
    log_same = larger + torch.log(torch.exp(both_inside - larger) + torch.exp(both_outside - larger))
    # With zeros for what lies outside, such a pair has the loss 0: both of its probabilities are those of the pixel.
    weights = weights * inside
    return -(weights * log_same).sum() / weights.sum().clamp(min=1)


def plain_projection(logits: Tensor, inside: Tensor) -> Tensor:
    """The projection loss that takes the maximum of the probabilities."""
    mask, box = logits.sigmoid(), inside.to(logits.dtype)
    total = logits.new_zeros(len(logits))
    for dim in (2, 3):
        x, target = mask.max(dim=dim).values.flatten(1), box.max(dim=dim).values.flatten(1)
        total = total + 1 - 2 * (x * target).sum(1) / ((x * x).sum(1) + (target * target).sum(1) + 1e-5)
    return total.mean()


def plain(scene: Scene) -> Tensor:
    """The plain formulation of both losses."""
    logits, inside = scene["logits"], scene["box_masks"]
    weights = scene["weights"][scene["image_index"]].to(logits.dtype)
    return torch.stack([plain_pairwise(logits, weights, inside), plain_projection(logits, inside)])


def step(losses: Losses, scene: Scene) -> tuple[Tensor, Tensor]:
    """Both losses and the gradient of their sum."""
    values = losses(scene)
    return values.detach(), torch.autograd.grad(values.sum(), scene["logits"])[0]


def check(scene: Scene) -> None:
    """Compare values and gradients.

    Raises:
        RuntimeError: if they differ.
    """
    (values, gradient), (other_values, other_gradient) = step(ours, scene), step(plain, scene)
    found = (values - other_values).abs().max().item()
    gradients = ((gradient - other_gradient).abs().max() / other_gradient.abs().max()).item()
    if not max(found, gradients) <= TOLERANCE:
        raise RuntimeError(f"The losses differ by {found:.1e} and their gradients by {gradients:.1e} of the largest.")


def rows(
    device: str = "cpu", *, size: tuple[int, int, int] = SIZE, repeats: int = REPEATS
) -> list[tuple[str, float, float]]:
    """The table of one run.

    Args:
        device: Where to run.
        size: Instances, height and width of the maps.
        repeats: Steps of each that take turns.

    Returns:
        ``(what, ours, reference)``: instances per second and megabytes beyond the inputs.

    Raises:
        RuntimeError: if the two disagree, since their times would then mean nothing.
    """
    scene = make_scene(*size, device)
    check(scene)
    works = [partial(step, losses, scene) for losses in (ours, plain)]
    seconds = median_seconds(*works, repeats=repeats, device=device)
    ours_mb, plain_mb = (peak_bytes(work, device) / 1e6 for work in works)
    instances, height, width = size
    where = "" if device == "cpu" else ", on the GPU"
    name = f"pairwise and projection losses, {instances} instances of {height}x{width}{where}"
    return [
        (f"{name}, instances/s: ours | plain", instances / seconds[0], instances / seconds[1]),
        (f"{name}, peak memory in MB (less is better): ours | plain", ours_mb, plain_mb),
    ]
