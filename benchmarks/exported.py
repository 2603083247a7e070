"""Latency of one image: the network of ``experiments/lite_unet.yaml`` in ONNX Runtime against PyTorch, on the CPU.

Both run on the same number of threads. Weights are random, which does not change the time.
"""

import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks.timing import median_seconds
from lightning_modules.command_line.extends import read_settings
from lightning_modules.exported.formats import runner, serialise
from lightning_modules.exported.graph import examples, graph_of, stride_of
from lightning_modules.runs.loading import build_module

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "lite_unet.yaml"
SIZES = ((96, 128), (384, 512))
REPEATS = 15


def rows(sizes: tuple[tuple[int, int], ...] = SIZES, repeats: int = REPEATS) -> list[tuple[str, float, float]]:
    """Images per second of ONNX Runtime and of PyTorch, a row for each height and width."""
    settings = read_settings(EXPERIMENT)["model"]
    module = build_module({"class_path": settings["class_path"], "model": settings["init_args"]}, EXPERIMENT)
    graph, found = graph_of(module.eval()).eval(), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        content = serialise(
            graph,
            examples(graph.inputs, [(2, *sizes[0])])[0],
            format_="onnx",
            inputs=graph.inputs,
            outputs=graph.outputs,
            stride=stride_of(module),
            dynamic=True,
            metadata={},
        )
        path.write_bytes(content)
        run = runner(path)
        with torch.inference_mode():
            for height, width in sizes:
                (inputs,) = examples(graph.inputs, [(1, height, width)])
                for call in (run, graph):  # the first call starts libraries and plans
                    call(*inputs)
                onnx_s, torch_s = median_seconds(partial(run, *inputs), partial(graph, *inputs), repeats=repeats)
                found.append(
                    (f"lite_unet on {width}x{height}, images/s: ONNX Runtime | PyTorch", 1 / onnx_s, 1 / torch_s)
                )
    return found
