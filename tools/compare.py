"""Compare networks under one protocol: ``python -m tools.compare --models a.ckpt b.onnx hf:org/model --data FILE``.

A network is a checkpoint, an exported file, or with the prefix ``hf:`` a Hugging Face depth model (a folder or an id).
All of them predict the test split of the data with one alignment, one range of depth and one batch size, each in a
process of its own, whose peak memory is reported. ``--calibration`` adds the shift that ``make calibrate`` found for a
network. The table is Markdown: metrics, parameters, images per second and memory. A network that cannot be used on the
data is listed below it with the reason, and the exit code is 1.
"""

import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.exported.formats import format_of, read_metadata
from lightning_modules.exported.loading import load_trained
from lightning_modules.render_consistency.calibrated_depth import CalibratedDepth
from lightning_modules.runs.class_names import check_classes
from lightning_modules.tasks.instance_segmentation import InstanceSegmentationModule
from lightning_modules.teachers.teacher import Teacher
from metrics.depth import DepthMetrics
from metrics.instances import InstanceMetrics
from structures.calibration import Calibration
from structures.choices import Alignment
from structures.errors import plain_reason
from structures.files import write_atomically
from tools.command import EXPECTED_ERRORS, data_parser, few_messages, run_tool
from tools.model import device_named
from tools.predict_tasks import task_of

HUGGING_FACE = "hf:"
DEPTH_COLUMNS = ("abs_rel", "rmse", "delta1")
INSTANCE_COLUMNS = ("mask_ap", "mask_ap50", "box_ap")
LOWER_IS_BETTER = frozenset({"abs_rel", "rmse"})


class Row(NamedTuple):
    """What was measured of one network; plain values, so that it crosses processes."""

    model: str
    """As given."""
    metrics: dict[str, float]
    """Metrics by name."""
    parameters: int | None
    """Number of parameters, None if the file does not tell."""
    images_per_s: float
    """Images per second, without loading them and without the first batch."""
    memory_mb: float
    """Peak memory: of the GPU, or of the process on the CPU."""
    images: int
    """Number of test images."""


def parser() -> SettingsParser:
    """The options of the tool."""
    made = data_parser("tools.compare", __doc__)
    made.add_argument("--models", type=list[str], required=True, help="checkpoints, exported files, hf:MODEL")
    made.add_argument("--alignment", type=Alignment, default="least_squares", help="alignment of depth before errors")
    made.add_argument("--min_depth_m", type=float, default=0.1, help="nearest evaluated depth, metres")
    made.add_argument("--max_depth_m", type=float, default=10.0, help="farthest evaluated depth, metres")
    made.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda")
    made.add_argument("--calibration", type=str | None, default=None, help="shift of make calibrate, for one network")
    made.add_argument("--output", type=str | None, default=None, help="Markdown file for the table")
    return made


def load_any(source: str) -> tuple[LightningModule, int | None]:
    """A network and its number of parameters.

    Args:
        source: A checkpoint, an exported file, or ``hf:`` and a Hugging Face model.

    Raises:
        ValueError: If it is none of these.
        FileNotFoundError: If there is no such file.
        ImportError: If a package is missing.
    """
    if source.startswith(HUGGING_FACE):
        teacher = Teacher(source.removeprefix(HUGGING_FACE), "depth")
        return teacher, sum(p.numel() for p in teacher.parameters())
    path = Path(source)
    module, _ = load_trained(path)
    if format_of(path) is not None:
        return module, read_metadata(path).get("parameters")
    return module, sum(p.numel() for p in module.parameters())


def measure(source: str, words: Sequence[str]) -> Row | str:
    """Errors, speed and memory of one network, or the reason why it cannot be compared.

    Args:
        source: See :func:`load_any`.
        words: Words of the tool's call.
    """
    try:
        with few_messages():
            made = parser()
            options = made.parse_args(list(words))
            return _measure(source, options, made.instantiate(options).data)
    except (*EXPECTED_ERRORS, RuntimeError) as error:
        return f"{source}: {' '.join(plain_reason(error).split())}"


def _measure(source: str, options: Any, data: LightningDataModule) -> Row:
    device = device_named(options.device)
    module, parameters = load_any(source)
    if options.calibration is not None:
        if task_of(module) != "depth":
            raise ValueError("--calibration is a shift of depth, which it does not predict")
        calibration = Calibration.load(Path(options.calibration))
        module = CalibratedDepth(module, calibration, from_nearest=source.startswith(HUGGING_FACE))
    module = module.to(device).eval()
    instances = isinstance(module, InstanceSegmentationModule)
    if not instances and task_of(module) != "depth":
        raise ValueError("it predicts neither depth nor instances")
    data.prepare_data()
    data.setup("test")
    check_classes(data, module)
    metric: Any = InstanceMetrics()
    if not instances:
        metric = DepthMetrics(
            alignment=options.alignment, min_depth_m=options.min_depth_m, max_depth_m=options.max_depth_m
        )
    seconds, timed, images = 0.0, 0, 0
    for number, batch in enumerate(_batches(data)):
        needed = "truth" if instances else "depth"
        if needed not in batch:
            raise ValueError(f"the data {type(data).__name__} have no '{needed}', which this network is compared on")
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        started = _now(device)
        with torch.inference_mode():
            found = module.predict_step(moved, number)
        count = len(batch["image"])
        if number > 0:  # the first batch starts libraries and plans
            seconds, timed = seconds + _now(device) - started, timed + count
        images += count
        if instances:
            on_cpu = [{key: value.cpu() for key, value in one.items()} for one in found]
            metric.update(on_cpu, truths=batch["truth"], image_ids=batch["image_id"])
        else:
            metric.update(
                found.cpu(),
                target_m=batch["depth"],
                mask=batch["depth_mask"],
                depth_scale_m=batch["depth_scale_m"],
            )
    values = {_short(name): float(value) for name, value in metric.compute().items()}
    memory = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    speed = timed / seconds if seconds > 0 else math.nan
    return Row(source, values, parameters, speed, memory / 1e6, images)


def _batches(data: LightningDataModule) -> Iterable[dict[str, Any]]:
    loader = data.test_dataloader()
    return loader[0] if isinstance(loader, list | tuple) else loader


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _short(name: str) -> str:
    """Name of a metric without its average and alignment, which are the same in the whole table."""
    return name.removesuffix("_lsq").removesuffix("_median").removesuffix("_img")


def table(rows: Sequence[Row], protocol: str) -> str:
    """Markdown table of networks of one task, the best of each metric in bold."""
    columns = [name for name in (*DEPTH_COLUMNS, *INSTANCE_COLUMNS) if any(name in row.metrics for row in rows)]
    best = {}
    for name in columns:
        values = [row.metrics[name] for row in rows if math.isfinite(row.metrics.get(name, math.nan))]
        if values:
            best[name] = min(values) if name in LOWER_IS_BETTER else max(values)
    header = ["model", *columns, "parameters", "images/s", "memory (MB)"]
    lines = [_line(header), _line(["---"] * len(header))]
    for row in rows:
        cells = []
        for name in columns:
            value = row.metrics.get(name)
            text = "-" if value is None else f"{value:.4f}"
            cells.append(f"**{text}**" if value is not None and value == best.get(name) else text)
        parameters = "-" if row.parameters is None else f"{row.parameters:,}"
        lines.append(_line([row.model, *cells, parameters, f"{row.images_per_s:.1f}", f"{row.memory_mb:.0f}"]))
    return "\n".join([*lines, "", f"{rows[0].images} test images; {protocol}"]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(words: list[str] | None = None) -> int:
    """Run the tool and return its exit code."""
    given = list(sys.argv[1:] if words is None else words)

    def work(options: Any) -> int:
        if options.calibration is not None and len(options.models) != 1:
            raise ValueError("a calibration belongs to one network: give one of --models with --calibration")
        # A process each: its peak memory is that of one network, and a crash ends one row.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
            found = [pool.submit(measure, source, given).result() for source in options.models]
        rows = [row for row in found if isinstance(row, Row)]
        reasons = [reason for reason in found if isinstance(reason, str)]
        protocol = (
            f"alignment {options.alignment}, {options.min_depth_m:g} to {options.max_depth_m:g} m, on "
            f"{device_named(options.device)}, {torch.get_num_threads()} threads"
        )
        if rows:
            text = table(rows, protocol)
            sys.stdout.write(text)
            if options.output is not None:
                write_atomically(options.output, [text.encode()])
        for reason in reasons:
            sys.stderr.write(f"left out: {reason}\n")
        return 1 if reasons else 0

    return run_tool(parser(), work, given)


if __name__ == "__main__":
    sys.exit(main())
