"""The table of an ablation: means over seeds, and paired differences to the baseline with intervals."""

import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import t as student

from tools.ablation.file import Ablation

CONFIDENCE = 0.95
"""Coverage of the intervals of paired differences."""


def paired_interval(differences: Sequence[float], *, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Mean of paired differences with its t interval, ``mean ± t_(n - 1) sd / sqrt(n)``.

    Args:
        differences: One per seed, variant minus baseline.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        Mean, lower and upper end; the ends are NaN for a single difference.

    >>> [round(value, 4) for value in paired_interval([1.0, 2.0, 3.0])]
    [2.0, -0.4841, 4.4841]
    """
    mean = statistics.fmean(differences)
    n = len(differences)
    if n < 2:
        return mean, math.nan, math.nan
    half = float(student.ppf((1 + confidence) / 2, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return mean, mean - half, mean + half


def tables(ablation: Ablation, records: Mapping[tuple[str, int], dict[str, Any]]) -> str:
    """Markdown with means over seeds, paired differences to the baseline, and the settings of the runs.

    Args:
        ablation: The ablation.
        records: Records of the finished runs by variant and seed.

    Returns:
        The text, without a newline at its end.
    """

    def values(variant: str, metric: str) -> dict[int, float]:
        tests = {seed: records[variant, seed]["test"] for seed in ablation.seeds if (variant, seed) in records}
        return {seed: test[f"test/{metric}"] for seed, test in tests.items() if f"test/{metric}" in test}

    def mean(variant: str, metric: str) -> str:
        found = list(values(variant, metric).values())
        if not found:
            return ""
        spread = f" ± {statistics.stdev(found):.4f}" if len(found) > 1 else ""
        return f"{statistics.fmean(found):.4f}{spread}"

    def difference(variant: str, metric: str) -> str:
        ours, theirs = values(variant, metric), values(ablation.baseline, metric)
        paired = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        if not paired:
            return ""
        centre, low, high = paired_interval(paired)
        if len(paired) < 2:
            return f"{centre:+.4f}"
        text = f"{centre:+.4f} [{low:+.4f}, {high:+.4f}]"
        return f"**{text}**" if low > 0 or high < 0 else text

    finished = {name: sum((name, seed) in records for seed in ablation.seeds) for name in ablation.variants}
    others = [name for name in ablation.variants if name != ablation.baseline]
    means = [
        [name, str(finished[name]), *(mean(name, metric) for metric in ablation.metrics)] for name in ablation.variants
    ]
    differences = [[name, *(difference(name, metric) for metric in ablation.metrics)] for name in others]
    blocks = [
        f"# {ablation.name}",
        "Mean ± standard deviation over the seeds:",
        _markdown(["variant", "runs", *ablation.metrics], means),
    ]
    if others:
        blocks += [
            f"Differences to `{ablation.baseline}` with the same seed: mean [{CONFIDENCE:.0%} t interval], bold where "
            "the interval excludes 0 (no correction for multiple comparisons):",
            _markdown(["variant", *ablation.metrics], differences),
        ]
    lines = [
        f"- experiment `{ablation.experiment}`, seeds {', '.join(map(str, ablation.seeds))}"
        + (f", all with `{shlex.join(ablation.common)}`" if ablation.common else "")
    ]
    if ablation.start is not None:
        given = f" with `{shlex.join(ablation.start.args)}`" if ablation.start.args else ""
        lines.append(f"- all variants of a seed start from the last weights of `{ablation.start.experiment}`{given}")
    for name, variant in ablation.variants.items():
        trained = "" if variant.experiment is None else f"experiment `{variant.experiment}`"
        given = f"`{shlex.join(variant.args)}`" if variant.args else "" if trained else "as it is"
        lines.append(f"- **{name}**: {'; '.join(part for part in (trained, given, variant.note) if part)}")
    if records:
        minutes = [record["fit_minutes"] for record in records.values() if "fit_minutes" in record]
        spent = f", {statistics.fmean(minutes):.1f} minutes per training" if minutes else ""
        commits = ", ".join(sorted({str(record.get("commit", "unknown"))[:8] for record in records.values()}))
        n_runs = len(ablation.seeds) * len(ablation.variants)
        lines.append(f"- {len(records)} of {n_runs} runs, commit {commits}{spent}")
    return "\n\n".join([*blocks, "\n".join(lines)])


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
