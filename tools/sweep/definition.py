"""W&B sweeps of the ablations: ``experiments/sweeps/<name>.yaml`` from ``experiments/ablations/<name>.yaml``.

``python -m tools.sweep.definition`` writes all of them. A sweep is the grid of the variants and seeds of an ablation.
Each of its runs is the command ``python -m tools.ablation FILE --seeds=... --variants=...``, so that a run has the same
folder, and resumes in the same way, whether W&B or ``make ablation`` started it.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_modules.command_line.extends import read_settings
from lightning_modules.command_line.wording import did_you_mean
from structures.files import write_atomically
from tools.ablation.file import EXPERIMENTS, Ablation, read_ablation
from tools.command import plain_parser, run_tool
from tools.report.columns import direction

ABLATIONS, SWEEPS = EXPERIMENTS / "ablations", EXPERIMENTS / "sweeps"
_MODULE = "tools.ablation"
_PARAMETERS = ("seeds", "variants")


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file gives it.

    Attributes:
        name: Stem of the file.
        ablation: The ablation file that its runs train.
        seeds: Seeds of the grid.
        variants: Variants of the grid.
        settings: The whole content of the file, for W&B.
    """

    name: str
    ablation: Path
    seeds: tuple[int, ...]
    variants: tuple[str, ...]
    settings: dict[str, Any]


def sweep_settings(ablation: Ablation) -> dict[str, Any]:
    """Content of the sweep file of an ablation; its first metric is the one that W&B shows as the sweep's."""
    metric = ablation.metrics[0]
    return {
        "name": ablation.name,
        "program": f"{_MODULE.replace('.', '/')}/__main__.py",
        "command": [
            *("${env}", "${interpreter}", "-m", _MODULE, f"experiments/ablations/{ablation.name}.yaml", "${args}"),
        ],
        "method": "grid",
        "metric": {"name": f"test/{metric}", "goal": "maximize" if direction(metric) == "high" else "minimize"},
        "parameters": {
            "seeds": {"values": list(ablation.seeds)},
            "variants": {"values": list(ablation.variants)},
        },
    }


def sweep_text(ablation: Ablation) -> str:
    """Text of the sweep file of an ablation."""
    origin = f"# Generated from experiments/ablations/{ablation.name}.yaml by `python -m tools.sweep.definition`.\n"
    return origin + yaml.safe_dump(sweep_settings(ablation), sort_keys=False, width=120)


def ablation_files(folder: Path = ABLATIONS) -> list[Path]:
    """Ablation files of a folder, without the parts that others extend."""
    return sorted(path for path in folder.glob("*.yaml") if not path.name.startswith("_"))


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file; it may hold fewer variants and seeds than its ablation.

    Raises:
        ValueError: If it is no grid over variants and seeds of an ablation.
        OSError: If it cannot be read.
    """
    settings = read_settings(path)
    command = settings.get("command")
    words = command if isinstance(command, list) else []
    files = [word for word in words if str(word).endswith(".yaml")]
    if settings.get("method") != "grid" or len(files) != 1 or _MODULE not in words:
        raise ValueError(
            f"{path} is no sweep of an ablation: method has to be grid, and command to run {_MODULE} with one file"
        )
    parameters = settings.get("parameters")
    given = parameters if isinstance(parameters, dict) else {}
    unknown = [name for name in given if name not in _PARAMETERS]
    if unknown:
        similar = did_you_mean(str(unknown[0]), _PARAMETERS) or f"; known are {' and '.join(_PARAMETERS)}."
        raise ValueError(f"{path}: parameters has the unknown name '{unknown[0]}'{similar}")
    values: dict[str, list[Any]] = {}
    for name in _PARAMETERS:
        found = given.get(name)
        listed = found.get("values") if isinstance(found, dict) else None
        if not isinstance(listed, list) or not listed:
            raise ValueError(f"{path}: parameters.{name}.values has to be a list with at least one value.")
        values[name] = listed
    if not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in values["seeds"]):
        raise ValueError(f"{path}: parameters.seeds.values is {values['seeds']}, but whole numbers are needed.")
    return Sweep(
        name=path.stem,
        ablation=Path(files[0]),
        seeds=tuple(values["seeds"]),
        variants=tuple(str(value) for value in values["variants"]),
        settings=settings,
    )


def main(words: list[str] | None = None) -> int:
    """Write the sweep of every ablation and remove those whose ablation is gone.

    Args:
        words: Words of the call; None takes ``sys.argv[1:]``.

    Returns:
        0, or 1 if an ablation is wrong.
    """
    parser = plain_parser("tools.sweep.definition", __doc__)
    parser.add_argument("--out", type=Path, default=SWEEPS, help="folder of the sweeps (default: experiments/sweeps)")

    def work(options: Any) -> None:
        texts = {path.name: sweep_text(read_ablation(path)) for path in ablation_files()}
        options.out.mkdir(parents=True, exist_ok=True)
        for path in options.out.glob("*.yaml"):
            if path.name not in texts and path.read_text().startswith("# Generated from experiments/ablations/"):
                path.unlink()
        for name, text in texts.items():
            write_atomically(options.out / name, [text.encode()])
        sys.stdout.write(f"{len(texts)} sweeps are in {options.out}\n")

    return run_tool(parser, work, words)


if __name__ == "__main__":
    sys.exit(main())
