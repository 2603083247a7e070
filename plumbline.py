"""Plumbline for Python: ``from plumbline import load``, ``load("best.ckpt").predict("photo.jpg").depth_m``.

Trains by name, loads a trained network, and predicts on images in any form, with the same numbers as ``make predict``.
"""

import os
from pathlib import Path
from typing import Any

from cli import main
from lightning_modules.command_line.wording import did_you_mean
from lightning_modules.runs.folder import CHECKPOINT_FOLDER, RUN_ID_VARIABLE, run_id
from tools import prepare_inputs
from tools.model import Model, device_named, load_model
from tools.prediction_results import Prediction, Predictions

__all__ = ["Model", "Prediction", "Predictions", "fit", "list_experiments", "load", "predict"]

EXPERIMENTS = Path(__file__).parent / "experiments"


def load(source: str | Path, device: str = "auto") -> Model:
    """Load a trained network.

    Args:
        source: Path of a checkpoint (``.ckpt``) or of an exported file (``.onnx``, ``.ts``, ``.pt2``).
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be used, or there is no such device.
    """
    return load_model(source, device)


def predict(source: str | Path, images: Any, device: str = "auto", **options: Any) -> Any:
    """Load a network and predict once: :func:`load`, then :meth:`tools.model.Model.predict`."""
    return load(source, device).predict(images, **options)


def list_experiments() -> list[str]:
    """Names that :func:`fit` and ``make train EXP=name`` take."""
    return _names(EXPERIMENTS)


def fit(
    experiment: str,
    data: str | None = None,
    root: str | Path | None = None,
    max_steps: int | None = None,
    runs_dir: str | Path = "runs",
    device: str = "auto",
    **settings: Any,
) -> Model:
    """Train and test an experiment as ``make train`` does.

    Args:
        experiment: One of :func:`list_experiments`.
        data: Name of other data, ``DATA=`` of ``make train``.
        root: Folder of the data, ``ROOT=`` of ``make train``.
        max_steps: Number of optimizer steps; None is the experiment's.
        runs_dir: Folder of all runs.
        device: Device of the returned network, see :func:`load`.
        settings: Any other setting of the command line, with ``__`` for a dot: ``trainer__val_check_interval=50``.

    Returns:
        The network of the best checkpoint, or of the last one where no best one was chosen.

    Raises:
        ValueError: If the experiment or the data is unknown, or there is no such device.
        RuntimeError: If the training fails; the sentence of the command line about it is printed before.
    """
    device_named(device)  # refused before the training
    words = ["--config", _file(experiment, EXPERIMENTS, "experiment")]
    if data is not None:
        words += ["--data", _file(data, EXPERIMENTS / "data", "data")]
    if root is not None:
        words += ["--data.init_args.root", str(root)]
    if max_steps is not None:
        words += ["--trainer.max_steps", str(max_steps)]
    for name, value in settings.items():
        words += [f"--{name.replace('__', '.')}", "null" if value is None else str(value)]
    if prepare_inputs.main(words) != 0:
        raise RuntimeError("the label files that the training needs could not be made; the message is above")
    identity = run_id()
    given = os.environ.get(RUN_ID_VARIABLE)
    os.environ[RUN_ID_VARIABLE] = identity
    try:
        main(["fit", *words, "--runs_dir", str(runs_dir), "--experiment", experiment])
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise RuntimeError(f"the training of {experiment} ended early: {stop.code}") from stop
    finally:
        if given is None:
            os.environ.pop(RUN_ID_VARIABLE, None)
    folder = Path(runs_dir) / experiment / identity / CHECKPOINT_FOLDER
    best = folder / "best.ckpt"
    return load(best if best.is_file() else folder / "last.ckpt", device)


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.name.startswith("_"))


def _file(name: str, folder: Path, what: str) -> str:
    names = _names(folder)
    if name not in names:
        raise ValueError(f"there is no {what} '{name}'{did_you_mean(str(name), names)}; known: {', '.join(names)}")
    return str(folder / f"{name}.yaml")
