"""``make bench``: the hot paths, each against a straightforward reference, as ratios within one run."""

import argparse
import sys

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import (
    consistency_step,
    data_loading,
    exported,
    instances,
    metrics_vs_numpy,
    pairwise,
    photometric,
    point_rendering,
    self_supervised_step,
    training_step,
)


def main(args: list[str] | None = None) -> int:
    """Run every benchmark and print its ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="folder of the rooms file (default: $PLUMBLINE_DATA, else data)")
    options = parser.parse_args(args)
    torch.set_flush_denormal(True)
    table = Table(title=f"{torch.get_num_threads()} CPU threads, {'a GPU' if torch.cuda.is_available() else 'no GPU'}")
    for column in ("what", "ours", "reference", "ratio"):
        table.add_column(column)
    step = training_step.seconds_per_image()
    name = "training step of resnet_unet, images/s: channels_last | contiguous"
    rows = [(name, 1 / step.channels_last, 1 / step.contiguous)]
    loading = data_loading.seconds_per_image(options.root)
    rows += [
        ("images/s: loading rooms from disk | bare training step", 1 / loading.disk, 1 / step.channels_last),
        ("images/s: loading rooms from memory | bare training step", 1 / loading.cache, 1 / step.channels_last),
    ]
    for metric, ours, reference in metrics_vs_numpy.run():
        rows.append((f"{metric}, runs/s: ours | numpy loop", 1 / ours, 1 / reference))
    for part, ours, reference in photometric.run():
        rows.append((f"{part}, steps/s: ours | straightforward", 1 / ours, 1 / reference))
    rows += self_supervised_step.rows()
    rows += point_rendering.rows()
    rows += consistency_step.rows()
    rows += pairwise.rows()
    rows += instances.rows()
    rows += exported.rows()
    if torch.cuda.is_available():
        rows += self_supervised_step.rows("cuda")
        rows += point_rendering.rows("cuda")
        rows += consistency_step.rows("cuda")
        rows += pairwise.rows("cuda")
        rows += instances.rows("cuda")
        for part, ours, reference in photometric.run("cuda"):
            rows.append((f"{part}, on the GPU, steps/s: ours | straightforward", 1 / ours, 1 / reference))
        gpu = training_step.seconds_per_image("cuda")
        rows.append((f"{name}, on the GPU", 1 / gpu.channels_last, 1 / gpu.contiguous))
    for what, ours, reference in rows:
        table.add_row(what, f"{ours:,.1f}", f"{reference:,.1f}", f"{ours / reference:.2f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
