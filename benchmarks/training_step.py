"""Images per second of one training step of ``resnet_unet`` at its own size and batch."""

import time
from typing import NamedTuple

import torch
from torch.nn.functional import l1_loss

from networks.unet import UNetDepth


class Step(NamedTuple):
    """Seconds per image of a step in the two memory formats, alternating in one run."""

    channels_last: float
    contiguous: float


def seconds_per_image(device: str = "cpu", *, repeats: int = 5, batch_size: int = 16) -> Step:
    """Median time of forward, backward and optimizer step, per image.

    Args:
        device: Where to run.
        repeats: Counted steps of each format, after one that is not counted.
        batch_size: Images in a step, 96x128 as in the experiment.
    """
    times: dict[torch.memory_format, list[float]] = {torch.channels_last: [], torch.contiguous_format: []}
    runs = {}
    for memory_format in times:
        network = UNetDepth("resnet18", encoder_weights=None, decoder_widths=(128, 64, 48, 32))
        network = network.to(device, memory_format=memory_format)  # type: ignore[call-overload]
        runs[memory_format] = (network, torch.optim.Adam(network.parameters()))
    for repeat in range(repeats + 1):
        for memory_format, (network, optimizer) in runs.items():
            image = torch.rand(batch_size, 3, 96, 128, device=device).to(memory_format=memory_format)
            target = torch.rand(batch_size, 1, 96, 128, device=device)
            started = time.perf_counter()
            l1_loss(network(image), target).backward()
            optimizer.step()
            optimizer.zero_grad()
            if device != "cpu":
                torch.cuda.synchronize()
            if repeat > 0:
                times[memory_format].append((time.perf_counter() - started) / batch_size)
    medians = {memory_format: sorted(values)[len(values) // 2] for memory_format, values in times.items()}
    return Step(medians[torch.channels_last], medians[torch.contiguous_format])
