"""Kind of a teacher: a checkpoint, a TorchScript file, a Hugging Face model, or a folder of depth maps."""

import os
from pathlib import Path
from typing import Literal

from lightning_modules.runs.loading import CheckpointError, read_checkpoint
from networks.torchscript import is_torchscript

SourceKind = Literal["checkpoint", "torchscript", "maps", "huggingface"]

ACCEPTED = (
    "a teacher is a checkpoint of this project (.ckpt), a TorchScript file (.ts, .pt, .torchscript), a folder or the "
    "id of a Hugging Face model, or for pseudo depth a folder of depth maps (.png, .npy)"
)

MAP_SUFFIXES = frozenset({".png", ".npy"})

_SCRIPTED = frozenset({".ts", ".torchscript", ".jit"})
_OTHERS = {
    ".onnx": "an ONNX file",
    ".safetensors": "a file of weights without a network (safetensors)",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".keras": "a Keras file",
    ".pt2": "a file of torch.export",
    ".tflite": "a TensorFlow Lite file",
    ".pb": "a TensorFlow file",
    ".mlmodel": "a Core ML file",
    ".mlpackage": "a Core ML file",
    ".engine": "a TensorRT file",
    ".npz": "a NumPy archive",
    ".npy": "one array",
    ".png": "one picture",
    ".yaml": "a configuration",
    ".json": "a configuration",
}
"""Known files of other kinds, for the message that refuses them."""

_WEIGHTS = frozenset({".pt", ".pth", ".bin", ".pkl", ".pickle", ".tar"})


def source_kind(source: str) -> SourceKind:
    """Kind of the teacher that a text names. No code in a file is executed.

    Args:
        source: A path, or the id of a model of the hub.

    Raises:
        FileNotFoundError: If it can only be a path and does not exist.
        ValueError: If it is a file of another kind, or damaged; the sentence names what is accepted.
    """
    path = Path(source)
    if path.is_dir():
        if (path / "config.json").is_file():
            return "huggingface"
        if not holds_maps(path):
            raise ValueError(f"'{source}' is a folder without a config.json and without .png or .npy: {ACCEPTED}")
        return "maps"
    suffix = path.suffix.lower()
    if suffix == ".ckpt":
        return "checkpoint"
    if not path.is_file():
        if suffix in _SCRIPTED | _WEIGHTS | _OTHERS.keys() or source.startswith((os.sep, f".{os.sep}", "..", "~")):
            raise FileNotFoundError(f"there is no teacher '{source}': {ACCEPTED}")
        return "huggingface"
    if suffix not in _OTHERS and is_torchscript(path):
        return "torchscript"
    if suffix in _OTHERS:
        raise ValueError(f"'{source}' is {_OTHERS[suffix]}: {ACCEPTED}")
    if suffix in _SCRIPTED:
        raise ValueError(f"'{source}' is no TorchScript file, or it is damaged or truncated: {ACCEPTED}")
    try:
        read_checkpoint(path)  # plain values and tensors alone
    except CheckpointError as error:
        hint = ""
        if suffix in _WEIGHTS:
            hint = (
                ". If it holds weights alone (a state dict), the network has to come with them: "
                "torch.jit.trace(network, example).save('network.ts')"
            )
        raise ValueError(
            f"'{source}' is neither a TorchScript file nor a checkpoint of this project: {ACCEPTED}{hint}"
        ) from error
    return "checkpoint"


def holds_maps(folder: Path) -> bool:
    """Whether there is a .png or .npy file in a folder or its subfolders, without hidden ones."""
    for _, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(Path(name).suffix.lower() in MAP_SUFFIXES and not name.startswith(".") for name in names):
            return True
    return False
