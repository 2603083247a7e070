"""The three formats of exported files: ONNX, TorchScript and ``torch.export``, each written, read and run."""

import contextlib
import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning.pytorch.core.module import _jit_is_scripting
from torch import Tensor, nn

from lightning_modules.exported.constant_padding import with_constant_padding
from lightning_modules.exported.graph import Run
from networks.torchscript import is_torchscript

Format = Literal["onnx", "torchscript", "pt2"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torchscript": ".ts", "pt2": ".pt2"}
"""Suffix of the files of each format."""

METADATA_KEY = "plumbline"
"""Key of the metadata in a file of ONNX; with ``.json``, its file in the archives of the other formats."""
_EXTRA = f"{METADATA_KEY}.json"
LARGEST = 4096
"""Largest side and batch of a dynamic graph, times its stride for sides."""


class ExportError(ValueError):
    """A network cannot be exported; the message is one sentence with the reason."""


def format_of(path: Path) -> Format | None:
    """Format of the suffix of a file, None for another one."""
    return next((name for name, suffix in SUFFIXES.items() if path.suffix.lower() == suffix), None)


def check_format(name: str) -> Format:
    """A format by name.

    Raises:
        ValueError: If it is unknown.
        ImportError: If a package that it needs is not installed.
    """
    if name not in get_args(Format):
        raise ValueError(f"the format is '{name}', but must be one of {', '.join(get_args(Format))}")
    if name == "onnx":
        _import("onnx")
        _import("onnxscript")
        _import("onnxruntime")
    return name  # type: ignore[return-value]  # one of the literals


def _import(package: str) -> Any:
    try:
        return __import__(package)
    except ImportError as error:
        raise ImportError(f"ONNX needs {package}, which is not installed: pip install 'plumbline[export]'") from error


def serialise(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    *,
    format_: Format,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    stride: int,
    dynamic: bool,
    metadata: dict[str, Any],
) -> bytes:
    """A graph as a file.

    Args:
        graph: Tensors in, a tuple of tensors out, in eval mode on the CPU.
        example: Inputs of two images.
        format_: The format.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        stride: Divisor of height and width.
        dynamic: Whether batch, height and width may change.
        metadata: Plain values that the file carries.

    Raises:
        ExportError: If the graph cannot be expressed; the sentence names the operator where one is the reason.
    """
    text = json.dumps(metadata, ensure_ascii=False)
    buffer = io.BytesIO()
    graph = with_constant_padding(graph)
    try:
        with _few_messages(), torch.no_grad():
            if format_ == "torchscript":
                with _jit_is_scripting():  # otherwise a module without a trainer cannot be traced
                    scripted = torch.jit.trace(graph, example, check_trace=False)
                torch.jit.save(scripted, buffer, _extra_files={_EXTRA: text})
                return buffer.getvalue()
            shapes = _dynamic_shapes(inputs, stride) if dynamic else None
            program = torch.export.export(graph, example, dynamic_shapes=shapes)
            if format_ == "pt2":
                torch.export.save(program, buffer, extra_files={_EXTRA: text})
                return buffer.getvalue()
            written = torch.onnx.export(
                program, dynamo=True, input_names=list(inputs), output_names=list(outputs), verbose=False
            )
            assert written is not None
            model = written.model_proto
            model.metadata_props.add(key=METADATA_KEY, value=text)
            return bytes(model.SerializeToString())
    except Exception as error:  # the tracers and converters raise many unrelated types
        raise ExportError(_reason(error, format_)) from error


def _dynamic_shapes(inputs: tuple[str, ...], stride: int) -> Any:
    dim = torch.export.Dim
    batch = dim("batch", min=1, max=LARGEST)
    rows, columns = dim("rows", min=1, max=LARGEST), dim("columns", min=1, max=LARGEST)
    image = {0: batch, 2: stride * rows, 3: stride * columns}
    return tuple(image if name == "image" else {0: batch} for name in inputs)


_OPERATOR = re.compile(
    r"OpOverload\(op='([\w.]+)'|(?:operator|function for|for|node)\s+'?((?:aten|torchvision)[.:]+\w+)"
)


def _reason(error: Exception, format_: Format) -> str:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for one in reversed(causes):
        found = _OPERATOR.search(str(one))
        if found:
            operator = found.group(1) or found.group(2)
            return f"the operator {operator} of the network has no counterpart in {format_}"
    lines = [line.strip() for line in str(causes[-1]).splitlines() if line.strip()]
    return f"the network cannot be expressed in {format_}: {lines[0] if lines else type(error).__name__}"


@contextlib.contextmanager
def _few_messages() -> Iterator[None]:
    """Without the progress and the warnings of tracers and converters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of an exported file; no code in the file is run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or was not exported by this project.
    """
    format_ = format_of(path)
    if not path.is_file():
        raise FileNotFoundError(f"exported file '{path}' does not exist")
    try:
        text = _onnx_text(path) if format_ == "onnx" else _archived_text(path)
        metadata = json.loads(text)
    except (KeyError, StopIteration) as error:
        raise ValueError(f"'{path}' was not exported by this project: it carries no '{METADATA_KEY}'") from error
    except ImportError:
        raise
    except Exception as error:  # protobuf and zip readers raise many unrelated types on foreign bytes
        raise ValueError(f"'{path}' is no {format_} file, or it is damaged") from error
    if not isinstance(metadata, dict) or not {"class_path", "model"} <= metadata.get("recipe", {}).keys():
        raise ValueError(f"'{path}' was not exported by this project: its '{METADATA_KEY}' is of another form")
    return metadata


def _onnx_text(path: Path) -> str:
    model = _import("onnx").load(str(path), load_external_data=False)
    return next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)


def _archived_text(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(f"extra/{_EXTRA}"))
        return archive.read(name).decode()


def runner(path: Path) -> Run:
    """A function that runs an exported file.

    Loading a file of TorchScript or ``torch.export`` may run its code: load only files from a trusted source.

    Raises:
        ValueError: If the file cannot be loaded.
        ImportError: If ONNX Runtime is needed and not installed.
    """
    format_ = format_of(path)
    try:
        with _few_messages():
            if format_ == "onnx":
                return _onnx_runner(path)
            if format_ == "torchscript":
                if not is_torchscript(path):
                    raise ValueError("it is no TorchScript archive")
                return torch.jit.load(str(path), map_location="cpu").eval()
            return torch.export.load(str(path)).module()
    except ImportError:
        raise
    except Exception as error:  # the readers raise many unrelated types
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"the exported file '{path}' cannot be loaded: {lines[0]}") from error


def _onnx_runner(path: Path) -> Run:
    runtime = _import("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    available = runtime.get_available_providers()
    wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    session = runtime.InferenceSession(str(path), options, providers=wanted)
    names = [entry.name for entry in session.get_inputs()]

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in zip(names, tensors, strict=True)}
        return tuple(torch.from_numpy(array).to(tensors[0].device) for array in session.run(None, arrays))

    return run
