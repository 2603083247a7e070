"""A whole training step of GAM-Depth against the same arithmetic in a straightforward arrangement.

The module is built from ``experiments/gam_depth.yaml``; its clips, labels and vanishing directions are made up in
memory. Networks, losses of labels and planes, and smoothness are the same code on both sides. The reference predicts
motions pair by pair, warps source by source, takes the error candidate by candidate, and concatenates all errors before
the minimum. In training the batch norm of the pose encoder then takes one pair's images at a time and not all pairs',
which is the one difference in arithmetic: numbers are compared with its running statistics instead.

The peak of memory is what a step adds, at its worst moment, to parameters, optimizer state and batch.
"""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast
from unittest import mock

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F

from benchmarks.photometric import straightforward_error, straightforward_warp
from geometry.se3 import transform_from_axis_angle
from lightning_modules.command_line.extends import read_settings
from lightning_modules.gam_depth import GAMDepth
from lightning_modules.tasks.video_depth import IDENTITY_NOISE
from losses import planar_structure
from losses.planar import segment_planes
from losses.planar_structure import planar_and_normal_loss
from losses.smoothness import edge_aware_smoothness
from networks.disparity import DisparitySegmentationNet
from networks.pose import ResidualPoseNet
from structures.clip import ClipBatch, source_positions

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "gam_depth.yaml"
SIZE = (8, 5, 64, 96)
"""Clips, frames of a clip, height and width, as in ``experiments/data/rooms_video.yaml``: the paper's five frames."""
REPEATS = 8
LEAST_REPEATS = 2
TIMING_SECONDS = 40.0
TOLERANCE = 1e-4
"""Largest difference of a loss term, relative to it."""

Terms = Callable[[GAMDepth, ClipBatch], dict[str, Tensor]]


class Step(NamedTuple):
    """Measurements of one run; a pair is ours, then the straightforward arrangement."""

    seconds: tuple[float, float]
    """Forward, backward and optimizer, medians of steps that take turns."""
    segmentation: float
    """Seconds of our step that ``segment_planes`` takes."""
    peak_bytes: tuple[int, int]
    """Memory that a step takes at its worst moment."""


def make_module() -> GAMDepth:
    """The module of the experiment, in training mode and in the memory format of its training."""
    settings = read_settings(EXPERIMENT)["model"]
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningModule, "model")
    module: GAMDepth = parser.instantiate(parser.parse_object({"model": settings})).model
    module.setup("fit")
    module.depth_from = module.minimum_from = 0.0  # all terms, as in most of a training
    return module.train()


def make_batch(batch_size: int, n_frames: int, height: int, width: int) -> ClipBatch:
    """Made-up clips with labels and vanishing directions; what the losses do not read is left out."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch_size, 3, height // 8, width // 8, generator=generator)
    scene = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    noise = 0.05 * torch.randn(batch_size, n_frames, 3, height, width, generator=generator)
    frames = (scene.unsqueeze(1) + noise).clamp(0, 1)
    K = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]]).repeat(batch_size, 1, 1)
    labels = torch.randint(0, 23, (batch_size, height // 8, width // 8), generator=generator)
    batch = {
        "image": frames[:, n_frames // 2],
        "frames": frames,
        "frames_jittered": (0.9 * frames).clamp(0, 1),
        "K": K,
        "proxy_semantic": labels.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2),
        "vanishing": torch.linalg.qr(torch.randn(batch_size, 3, 3, generator=generator))[0],
    }
    return cast(ClipBatch, batch)


def ours(module: GAMDepth, batch: ClipBatch) -> dict[str, Tensor]:
    """The loss terms of the project."""
    return module.loss_terms(batch)


def straightforward(module: GAMDepth, batch: ClipBatch) -> dict[str, Tensor]:
    """The same terms pair by pair, source by source and candidate by candidate."""
    frames, jittered, K, target = batch["frames"], batch["frames_jittered"], batch["K"], batch["image"]
    n_frames = frames.shape[1]
    middle, others = n_frames // 2, source_positions(n_frames)
    pose_network = cast(ResidualPoseNet, module.pose_network)

    image = jittered[:, middle]
    disparity, logits = cast(DisparitySegmentationNet, module.depth_network).with_segmentation(image)
    depth = module.to_depth(disparity)

    steps = []  # frame k into frame k + 1
    for k in range(n_frames - 1):
        steps.append(transform_from_axis_angle(*pose_network(jittered[:, k], jittered[:, k + 1])))
    poses = {middle: torch.eye(4, dtype=depth.dtype, device=depth.device)}
    for k in range(middle, n_frames - 1):
        poses[k + 1] = torch.matmul(steps[k], poses[k])
    for k in range(middle - 1, -1, -1):
        poses[k] = torch.matmul(torch.linalg.inv(steps[k]), poses[k + 1])

    warped = []
    for k in others:
        first = straightforward_warp(frames[:, k], depth, K, poses[k])
        if k < middle:
            residual = torch.linalg.inv(transform_from_axis_angle(*pose_network.residual(first, image)))
        else:
            residual = transform_from_axis_angle(*pose_network.residual(image, first))
        warped.append(straightforward_warp(frames[:, k], depth, K, torch.matmul(poses[k], residual)))

    identity = torch.cat([straightforward_error(frames[:, k], target) for k in others], dim=1)
    errors = torch.cat([straightforward_error(view, target) for view in warped], dim=1)
    identity = identity + IDENTITY_NOISE * torch.randn_like(identity)
    error = torch.cat([identity, errors], dim=1).min(dim=1).values

    planar, normal = planar_and_normal_loss(depth, module.planes(batch, depth), pixels=module.pixels)
    return {
        "photometric": module.weigh(batch, error),
        "smoothness": edge_aware_smoothness(disparity, image=target),
        "segmentation": module.segmentation_loss(batch, logits),
        "planar": planar,
        "normal": normal,
    }


def total(module: GAMDepth, terms: dict[str, Tensor]) -> Tensor:
    """The weighted sum, as in training."""
    return torch.stack([module.loss_weights[name] * term for name, term in terms.items()]).sum()


def difference(module: GAMDepth, batch: ClipBatch) -> float:
    """Largest difference between the loss terms of the two arrangements, relative to the reference's."""
    assert module.pose_network is not None  # for the type checker: the experiment learns poses
    module.pose_network.eval()
    values = []
    for arrangement in (ours, straightforward):
        torch.manual_seed(0)  # the same noise on the identity errors
        with torch.no_grad():
            values.append(arrangement(module, batch))
    module.pose_network.train()
    found, reference = values
    # A term that is zero on both sides would compare nothing; its 0 / 0 spoils the maximum, as it should.
    errors = [(found[name] - reference[name]).abs() / reference[name].abs() for name in reference]
    return torch.stack(errors).max().item()


def _resident(field: str) -> int:
    """Bytes of this process in memory: ``VmRSS`` now, or ``VmHWM`` at its highest since that was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field))
    return int(line.split()[1]) * 1024


def peak_bytes(work: Callable[[], object], device: str = "cpu") -> int:
    """Peak memory of a function, in bytes, beyond the memory in use before it.

    On the CPU it is the growth of the process's resident memory as Linux reports it: tensors, the scratch memory of
    oneDNN, NumPy, and fragmentation. Freed memory is given back first, so that it counts when
    it is taken again. On a GPU it is that of the tensors.

    Args:
        work: What to do; run once.
        device: Whose memory is counted.
    """
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        taken = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - taken
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    taken = _resident("VmRSS")
    work()
    return _resident("VmHWM") - taken


class _Stopwatch:
    """Stands in for ``segment_planes`` and adds up its seconds."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = 0.0

    def __call__(self, *args: Tensor, valid: Tensor, scale: float, min_size: int) -> Tensor:
        _wait(self.device)
        start = time.perf_counter()
        segments = segment_planes(*args, valid=valid, scale=scale, min_size=min_size)
        self.seconds += time.perf_counter() - start
        return segments


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _repeats(most: int, seconds: float) -> Iterator[int]:
    """Count up to ``most``, or once ``LEAST_REPEATS`` are done until the seconds are over: the machine may be busy."""
    start = time.perf_counter()
    for repeat in range(most):
        if repeat >= LEAST_REPEATS and time.perf_counter() - start > seconds:
            return
        yield repeat


def run(device: str = "cpu", *, size: tuple[int, int, int, int] = SIZE, repeats: int = REPEATS) -> Step:
    """Time the two arrangements by turns on one module and one batch, then take their peaks of memory.

    Args:
        device: Where to run.
        size: Clips, frames of a clip, height and width.
        repeats: Most steps of each; the first is not counted.

    Raises:
        RuntimeError: if the two disagree, since their times would then mean nothing.
    """
    module = make_module().to(device)
    tensors = cast(dict[str, Tensor], make_batch(*size))
    batch = cast(ClipBatch, {name: values.to(device) for name, values in tensors.items()})
    found = difference(module, batch)
    if not found <= TOLERANCE:
        raise RuntimeError(f"The loss terms of the two arrangements differ by {found:.1e} of their size.")
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-6)  # the depths stay those of an untrained network

    def step(arrangement: Terms) -> None:
        total(module, arrangement(module, batch)).backward()
        optimizer.step()
        optimizer.zero_grad()
        _wait(device)

    seconds: dict[Terms, list[float]] = {ours: [], straightforward: []}
    shares = []
    for repeat in _repeats(repeats, TIMING_SECONDS):
        for arrangement, times in seconds.items():
            stopwatch = _Stopwatch(device)
            with mock.patch.object(planar_structure, "segment_planes", stopwatch):
                start = time.perf_counter()
                step(arrangement)
                took = time.perf_counter() - start
            if repeat > 0:
                times.append(took)
                if arrangement is ours:
                    shares.append(stopwatch.seconds / took)
    peaks = {arrangement: peak_bytes(partial(step, arrangement), device) for arrangement in seconds}
    median = {arrangement: statistics.median(times) for arrangement, times in seconds.items()}
    return Step(
        seconds=(median[ours], median[straightforward]),
        segmentation=statistics.median(shares) * median[ours],
        peak_bytes=(peaks[ours], peaks[straightforward]),
    )


def rows(device: str = "cpu") -> list[tuple[str, float, float]]:
    """The table of one run.

    Args:
        device: Where to run.

    Returns:
        ``(what, ours, reference)``: steps per second, megabytes, and the milliseconds of segmentation within a step.
    """
    step = run(device)
    clips, _, height, width = SIZE
    name = f"training step of gam_depth, {clips} clips of {height}x{width}{'' if device == 'cpu' else ', on the GPU'}"
    ours_mb, reference_mb = (size / 1e6 for size in step.peak_bytes)
    return [
        (f"{name}, steps/s: ours | straightforward", 1 / step.seconds[0], 1 / step.seconds[1]),
        (f"{name}, peak memory in MB (less is better): ours | straightforward", ours_mb, reference_mb),
        (f"{name}, ms: segmentation of planes | the whole step", 1e3 * step.segmentation, 1e3 * step.seconds[0]),
    ]
