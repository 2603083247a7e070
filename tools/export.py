"""Export the network of a checkpoint: ``python -m tools.export --checkpoint best.ckpt --output net.onnx``.

Formats are ``onnx`` (ONNX, for ONNX Runtime), ``torchscript`` and ``pt2`` (``torch.export``). The file is compared with
PyTorch on three inputs before it is written, carries its metadata, and is taken by ``make predict`` like a checkpoint.
"""

import sys
from pathlib import Path
from typing import Any

from lightning_modules.exported.export import export
from lightning_modules.exported.formats import SUFFIXES, check_format
from tools.command import plain_parser, run_tool


def work(options: Any) -> None:
    """Export and report.

    Raises:
        ValueError: If the format is unknown, its suffix another, or the network cannot be exported.
    """
    format_ = check_format(options.format)
    output = Path(options.output)
    if output.suffix.lower() != SUFFIXES[format_]:
        raise ValueError(f"the output is '{output}', but a file of {format_} ends in {SUFFIXES[format_]}")
    done = export(Path(options.checkpoint), output, format_)
    size = "any batch and size" if done.dynamic else f"one image of the training's size ({done.note})"
    sys.stdout.write(
        f"{done.path}: {done.path.stat().st_size / 1e6:.1f} MB, {size}, largest difference to PyTorch "
        f"{done.difference:.1e}\n"
    )


def main(words: list[str] | None = None) -> int:
    """Run the tool and return its exit code."""
    parser = plain_parser("tools.export", __doc__)
    parser.add_argument("--checkpoint", required=True, help="checkpoint (.ckpt) of a network of depth or instances")
    parser.add_argument("--format", default="onnx", help="onnx (default), torchscript or pt2")
    parser.add_argument("--output", required=True, help="file to write: .onnx, .ts or .pt2")
    return run_tool(parser, work, words)


if __name__ == "__main__":
    sys.exit(main())
