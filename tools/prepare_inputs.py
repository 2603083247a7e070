"""Make the missing label files of an experiment before its training.

``python -m tools.prepare_inputs --config experiments/gam_depth.yaml [--data FILE] [--data.init_args.root PATH ...]``
``python -m tools.prepare_inputs --ablation experiments/ablations/gam_depth.yaml`` does it for all variants.

For the embedded data, missing proxy labels are made by a light teacher (``experiments/segmenter.yaml``), which is
trained first, and missing vanishing directions are detected in the frames. Missing pseudo depth is predicted by a small
supervised network (``experiments/lite_unet.yaml``). It is trained on the video clips only, whose scenes differ from
those of the stills that it labels. For other data the user has to choose a teacher; the error message gives the
command. An experiment without missing files costs a fraction of a second. Other arguments of the training are ignored.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from lightning_modules.command_line.extends import read_settings
from lightning_modules.command_line.wording import did_you_mean
from structures.errors import plain_reason
from structures.label_store import LabelStore
from tools.ablation.variants import read_variants

ROOT = Path(__file__).parents[1]
SEGMENTER = ROOT / "experiments" / "segmenter.yaml"
USAGE = (
    "error: give --config experiments/NAME.yaml, with any arguments of fit, or "
    "--ablation experiments/ablations/NAME.yaml\n"
)
DEPTH_TEACHER = ROOT / "experiments" / "lite_unet.yaml"
TEACHER_RUN = "teacher"
DEPTH_TEACHER_RUN = "depth_teacher"
DEPTH_TEACHER_ARGUMENTS = (
    *("--data.init_args.parts", "[video]"),
    *("--trainer.max_steps", "600", "--trainer.val_check_interval", "200"),
)
ROOMS = "datamodules.rooms.video.RoomsVideoDataModule"
ROOMS_INSTANCES = "datamodules.rooms.instances.RoomsInstanceDataModule"
LABEL_SIZE = "[96, 128]"  # training size of the light teachers
MIN_LINE = 0.05
"""Shortest line in image widths; with the default, the search fails in more of these small images."""
TEACHER_MINUTES, LABEL_MINUTES = 15, 1  # upper bounds, measured once on one core of a very busy machine
DEPTH_TEACHER_MINUTES = 10  # an estimate: the 1000 steps of its experiment took 14 minutes


def read_yaml(path: Path) -> dict[str, Any]:
    """Content of a YAML file, with every ``extends`` resolved.

    Raises:
        ValueError: If the file is missing or holds no mapping.
    """
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        names = [file.stem for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        raise ValueError(f"{path} {state}{did_you_mean(path.stem, names) or ': a YAML file of settings is needed'}")
    return read_settings(path)


def data_settings(config: Path, arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Data settings of an experiment, and the arguments that give other tools the same data.

    Args:
        config: The experiment's YAML.
        arguments: Arguments of the training; only those of ``data`` matter.

    Returns:
        ``class_path`` and ``init_args`` with the simple overrides applied, and the arguments for other tools.

    Raises:
        ValueError: If a file is no YAML or has no data.
    """
    chosen = read_yaml(config).get("data")
    overrides: dict[str, str] = {}
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--data") else [word])]
    for name, value in itertools.pairwise(words):
        if name == "--data":
            chosen = value
        elif name.startswith("--data."):
            overrides[name.removeprefix("--data.").removeprefix("init_args.")] = value
    if isinstance(chosen, str):
        places = (config.parent / chosen, Path(chosen), ROOT / chosen)  # the last for paths of ablation files
        path = next((p for p in places if p.is_file()), None)
        if path is None and chosen.endswith((".yaml", ".yml")):
            raise ValueError(f"the data file '{chosen}' of {config} does not exist")
        settings: dict[str, Any] = {"class_path": chosen} if path is None else read_yaml(path)
        handed_on = ["--data", chosen if path is None else str(path)]
    elif isinstance(chosen, dict):
        settings, handed_on = chosen, ["--data", json.dumps(chosen)]
    else:
        raise ValueError(f"{config} names no data")
    for name, text in overrides.items():
        if "." not in name:
            settings.setdefault("init_args", {})[name] = yaml.safe_load(text)
    # Loader settings of the training, such as its image size, do not apply to a teacher.
    for name, text in overrides.items():
        if name in ("root", "processes", "renderer", "settings") or name.startswith("settings."):
            handed_on += [f"--data.init_args.{name}", text]
    return settings, handed_on


def missing_inputs(settings: dict[str, Any]) -> dict[str, Path]:
    """Missing label files of the data settings, by kind (``semantic``, ``vanishing``, ``depth``)."""
    init_args = settings.get("init_args") or {}
    named = {"semantic": init_args.get("proxy_labels"), "vanishing": init_args.get("vanishing")}
    named["depth"] = init_args.get("pseudo_depth_file")
    return {kind: Path(path) for kind, path in named.items() if path is not None and not Path(path).is_file()}


def run(*words: str, environment: dict[str, str] | None = None) -> None:
    """Run a module of this project and wait for it.

    Raises:
        subprocess.CalledProcessError: If it fails; its own output gives the reason.
    """
    subprocess.run([sys.executable, "-m", *words], check=True, env={**os.environ, **(environment or {})})


def train_teacher(data_words: list[str], kind: str = "semantic") -> Path:
    """Checkpoint of the light teacher of a kind of labels; the teacher is trained first if needed."""
    arguments: tuple[str, ...]
    experiment, run_id, arguments, minutes = SEGMENTER, TEACHER_RUN, (), TEACHER_MINUTES
    what = "proxy labels"
    if kind == "depth":
        experiment, run_id, what = DEPTH_TEACHER, DEPTH_TEACHER_RUN, "pseudo depth"
        arguments, minutes = DEPTH_TEACHER_ARGUMENTS, DEPTH_TEACHER_MINUTES
    folder = Path("runs") / experiment.stem / run_id / "checkpoints"
    best, last = folder / "best.ckpt", folder / "last.ckpt"
    finished = folder.parent / "run.json"
    if best.is_file() and finished.is_file() and '"test"' in finished.read_text():
        return best
    sys.stdout.write(f"training the light teacher of the {what} first: at most about {minutes} minutes\n")
    sys.stdout.flush()
    resumed = ["--ckpt_path", "last"] if last.is_file() else []
    overrides = data_words[2:]  # root and content of the data, without the data module itself
    words = ["cli", "fit", "--config", str(experiment), *overrides, *arguments, *resumed]
    run(*words, environment={"RUN_ID": run_id})
    return best


def prepare(config: Path, arguments: list[str]) -> bool:
    """Make the missing label files of one training.

    Args:
        config: The experiment's YAML.
        arguments: Arguments of the training.

    Returns:
        Whether a file was missing.

    Raises:
        ValueError: If a file is missing that only the user can make.
        subprocess.CalledProcessError: If making a file fails.
    """
    settings, handed_on = data_settings(config, arguments)
    missing = missing_inputs(settings)
    own = {ROOMS: ("semantic", "vanishing"), ROOMS_INSTANCES: ("depth",)}.get(settings.get("class_path", ""), ())
    for kind, path in missing.items():
        if kind in own:
            continue
        how = "make pseudo-labels DATA=... TEACHER=... OUT=..." if kind != "vanishing" else "make vanishing"
        how += " KIND=depth" if kind == "depth" else ""
        raise ValueError(f"{path} does not exist: {how} makes it, or set it to null and leave out its loss terms")
    if "semantic" in missing:
        teacher = train_teacher(handed_on)
        sys.stdout.write(f"labelling the training frames: about {LABEL_MINUTES} minute\n")
        sys.stdout.flush()
        fields = ["--data.init_args.fields", "[semantic]", "--data.init_args.image_size", LABEL_SIZE]
        labels = ["--teacher", str(teacher), "--kind", "semantic", "--out", str(missing["semantic"])]
        run("tools.pseudo_labels", *handed_on, *fields, *labels)
        LabelStore(missing["semantic"])
    if "vanishing" in missing:
        lines = ["--settings.min_length", str(MIN_LINE)]
        run("tools.vanishing", *handed_on, *lines, "--out", str(missing["vanishing"]))
        LabelStore(missing["vanishing"])
    if "depth" in missing:
        teacher = train_teacher(handed_on, "depth")
        sys.stdout.write(f"pseudo depth of the training images: about {LABEL_MINUTES} minute\n")
        sys.stdout.flush()
        labels = ["--teacher", str(teacher), "--kind", "depth", "--out", str(missing["depth"])]
        run("tools.pseudo_labels", *handed_on, "--data.init_args.image_size", LABEL_SIZE, *labels)
        LabelStore(missing["depth"])
    return bool(missing)


def trainings(ablation: Path) -> list[tuple[Path, list[str]]]:
    """Experiment and arguments of every variant of an ablation file (``tools/ablation/file.py`` checks it).

    Raises:
        ValueError: If it has no experiment or no variants, or a variant is wrong.
    """
    content = read_yaml(ablation)
    experiment = content.get("experiment")
    if not isinstance(experiment, str) or not isinstance(content.get("variants"), dict):
        raise ValueError(f"{ablation} is no ablation: it needs an experiment and variants")
    common = [str(word) for word in content.get("common") or []]
    folder = ablation.parents[1]
    return [
        (folder / f"{variant.experiment or experiment}.yaml", [*common, *variant.args])
        for variant in read_variants(content, ablation).values()
    ]


def main(args: list[str] | None = None) -> int:
    """Make missing label files.

    Returns:
        0, 1 with one sentence if a file cannot be made, 2 for a wrong call, or the exit code of a failed command.
    """
    words = sys.argv[1:] if args is None else args
    if len(words) < 2 or words[0] not in ("--config", "--ablation"):
        sys.stderr.write(USAGE)
        return 2
    started = time.monotonic()
    try:
        path, rest = Path(words[1]), words[2:]
        made = [prepare(*training) for training in (trainings(path) if words[0] == "--ablation" else [(path, rest)])]
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {plain_reason(error)}\n")
        return 1
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    if any(made):
        sys.stdout.write(f"labels ready after {(time.monotonic() - started) / 60:.1f} minutes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
