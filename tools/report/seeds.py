"""Groups of runs that differ in their seed alone, and the quantiles of their intervals."""

from collections.abc import Sequence
from typing import Any

from scipy.stats import t as student

from tools.ablation.table import CONFIDENCE
from tools.report.runs import ReportedRun
from tools.report.settings import name_of_variant, variant_of


def seed_groups(runs: Sequence[ReportedRun]) -> list[dict[str, Any]]:
    """Groups of finished trainings with the same settings, in the order of their first runs.

    Returns:
        ``name``, unique, and ``members``: positions of the runs. Of runs with the same seed the last one counts.
    """
    groups: dict[str, dict[Any, int]] = {}
    for index, run in enumerate(runs):
        variant = variant_of(run)
        if variant and run.status == "finished":
            groups.setdefault(f"{variant} {run.data}", {})[run.seed] = index
    found: list[dict[str, Any]] = []
    used: dict[str, int] = {}
    for members in groups.values():
        name = name_of_variant([runs[index] for index in members.values()])
        used[name] = used.get(name, 0) + 1
        if used[name] > 1:
            name = f"{name} ({used[name]})"
        found.append({"name": name, "members": list(members.values())})
    return found


def quantiles(most: int) -> list[float]:
    """Quantiles of Student's t for two-sided intervals of the confidence of ablations, for 1 to ``most`` degrees.

    >>> [round(value, 3) for value in quantiles(3)]
    [12.706, 4.303, 3.182]
    """
    return [float(student.ppf((1 + CONFIDENCE) / 2, degrees)) for degrees in range(1, most + 1)]
