"""Names of the values that a module logs, determined before training, and a check of monitors against them."""

import inspect
import re
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torchmetrics import Metric

from lightning_modules.command_line.wording import did_you_mean
from lightning_modules.tasks.base import LEARNING_RATE, PaperModule
from lightning_modules.tasks.optimisation import Optimisation
from metrics.instances import InstanceMetrics
from metrics.truth_tally import TruthTally

_LIBRARIES = ("torch", "lightning", "builtins", "abc", "typing")
_LIGHTNING_NAMES = ("epoch", "step")  # Lightning adds these for ModelCheckpoint
_KNOWN_LOGGERS = ("DepthModule", "EvaluatedModule", "PaperModule", "InstanceSegmentationModule", "Segmenter")
_LOGGED = re.compile(r"""\.log\(\s*f?["']([^"']+)["']""")
_OPAQUE = re.compile(r"""\.log\(\s*(?!f?["'])|\.log_dict\(""")
_WORDS = re.compile(r"""["']([a-z][a-z0-9_]*)["']""")


def metric_names(module: LightningModule) -> frozenset[str] | None:
    """Names, without their stage, of a module's validation and test metrics, or None if they cannot be determined.

    They are the names that its metrics compute and those that its ``stage_metrics`` and ``logged_metrics`` write out.
    """
    if not isinstance(module, PaperModule):
        return None
    names = {"score"}
    for metric in module.modules():
        if not isinstance(metric, Metric) or isinstance(metric, TruthTally):  # its counts are not logged
            continue
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # compute() before update()
                if isinstance(metric, InstanceMetrics):  # it cannot compute without any update
                    metric.update([], truths=[], image_ids=[])
                computed = metric.compute()
        except Exception:
            return None
        finally:
            metric.reset()
        if isinstance(computed, dict):
            names |= {str(name) for name in computed}
    for owner in type(module).__mro__:
        if _is_known(owner):
            continue
        for method in ("stage_metrics", "logged_metrics"):
            if method in vars(owner):
                names |= set(_WORDS.findall(_source(vars(owner)[method])))
    return frozenset(names)


def logged_patterns(module: LightningModule, callbacks: Iterable[Any] = ()) -> list[str] | None:
    """Regular expressions of all names that a training may log, or None if they cannot be determined.

    They cannot if a class outside this project logs under computed names.
    """
    names = metric_names(module)
    if names is None:
        return None
    patterns = [re.escape(f"val/{name}") for name in sorted(names)]
    terms = getattr(module, "loss_weights", {})
    patterns += [re.escape(f"train/{name}") for name in ("loss", *terms)]
    for owner in (*type(module).__mro__, *(type(callback) for callback in callbacks)):
        if owner.__module__.split(".")[0] in _LIBRARIES or _is_known(owner):
            continue
        source = _source(owner)
        if not source or _OPAQUE.search(source):
            return None
        for literal in _LOGGED.findall(source):
            parts = re.split(r"(\{[^}]*\})", literal)
            pattern = "".join(".+" if part.startswith("{") else re.escape(part) for part in parts)
            if pattern.replace(".+", "").replace("/", "") == "":
                return None
            patterns.append(pattern)
    return patterns


def check_monitors(module: LightningModule, callbacks: Iterable[Any]) -> None:
    """Refuse callbacks that monitor a name which the training does not log.

    Args:
        module: The trained module.
        callbacks: Callbacks of the trainer; those with a text ``monitor`` are checked.

    Raises:
        ValueError: If a monitor is unknown; the message gives the nearest name.
    """
    callbacks = list(callbacks)
    watched = [(type(c).__name__, c.monitor) for c in callbacks if isinstance(getattr(c, "monitor", None), str)]
    optimisation = getattr(module, "optimisation", Optimisation())
    if "ReduceLROnPlateau" in repr(optimisation.lr_scheduler):  # the class, or a partial call of it
        watched.append(("ReduceLROnPlateau", optimisation.monitor))
    if not watched:
        return
    patterns = logged_patterns(module, callbacks)
    if patterns is None:
        return
    for who, name in watched:
        if (
            name in _LIGHTNING_NAMES
            or name == LEARNING_RATE
            or name.startswith("lr-")
            or any(re.fullmatch(pattern, name) for pattern in patterns)
        ):
            continue
        known = [re.sub(r"\\(.)", r"\1", pattern) for pattern in patterns if ".+" not in pattern]
        similar = did_you_mean(name, known) or f"; logged are {', '.join(known)}"
        raise ValueError(f"{who} watches '{name}', which {type(module).__name__} never logs{similar}")


def _is_known(owner: type) -> bool:
    """Whether a class is a base whose logged names are those of its metrics."""
    return owner.__name__ in _KNOWN_LOGGERS and owner.__module__.startswith("lightning_modules.")


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""
