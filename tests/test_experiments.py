"""Every experiment, found by discovery: two training steps, a reload, and a test with the same numbers."""

import json
import re
from pathlib import Path

import pytest
import torch

from cli import main
from lightning_modules.command_line.extends import read_settings
from lightning_modules.runs.loading import load_module

ROOT = Path(__file__).parents[1]
OF_EVERY_RUN = {
    *("LearningRateMonitor", "SamplesPerSecond", "StopOnNonFiniteLoss", "PeriodicCheckpoint", "FinalWeights"),
    *("ExactResume", "RunFolder"),
}
DEPTH = ("DepthPictures", "DepthPredictionWriter")
VIDEO = (*DEPTH, "ClipPictures", "TrajectoryWriter")
TASK_CALLBACKS = {
    "supervised_depth": DEPTH,
    "render_consistency": (*DEPTH, "ViewPictures"),
    "gam_depth": VIDEO,
    "monodepth2": VIDEO,
    "sc_depth": VIDEO,
    "boxinst_depth": ("InstancePictures", "InstancePredictionWriter"),
    "segmenter": ("LabelPredictionWriter",),
}
"""What draws and writes in the experiments of a slug; of a new paper, which is not listed, any of these is enough."""
WITHOUT_TRAJECTORIES = {"gam_depth_frames", "gam_depth_nyuv2"}
EXPERIMENTS = sorted(path for path in (ROOT / "experiments").glob("*.yaml") if not path.name.startswith("_"))


def data_name(experiment: Path) -> str:
    """Name of the data file of an experiment: ``rooms`` for ``data: data/rooms.yaml``."""
    return Path(read_settings(experiment)["data"]).stem


def is_embedded(experiment: Path) -> bool:
    return data_name(experiment).startswith("rooms")


def slug(experiment: Path) -> str:
    """The first word of the comment that a file begins with."""
    return experiment.read_text().removeprefix("# ").split(",")[0]


def marks(experiment: Path) -> list:
    # Two steps of the paper-scale networks cost more than seconds.
    return [] if is_embedded(experiment) else [pytest.mark.slow]


def overlay(experiment: Path) -> Path:
    """The overlay that shrinks an experiment to test size; data sets with a common prefix may share one."""
    words = data_name(experiment).split("_")
    names = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    files = [ROOT / "tests" / "overlays" / f"{name}.yaml" for name in names]
    return next(file for file in files if file.is_file())


@pytest.fixture
def data_root(request, experiment):
    """A tiny data set in the real layout: ``<data>_root`` of conftest, the same for everything on rooms."""
    return request.getfixturevalue("rooms_root" if is_embedded(experiment) else f"{overlay(experiment).stem}_root")


@pytest.mark.parametrize("experiment", [pytest.param(p, id=p.stem, marks=marks(p)) for p in EXPERIMENTS])
def test_experiment_fits_reloads_and_tests(experiment, data_root, tmp_path):
    common = ["--config", str(experiment), "--config", str(overlay(experiment))]
    common += ["--data.init_args.root", str(data_root)]
    main(["fit", *common])

    (run_dir,) = (tmp_path / "runs" / experiment.stem).iterdir()
    record = json.loads((run_dir / "run.json").read_text())
    assert record["steps"] == 2
    assert (run_dir / "config.yaml").is_file()
    assert (run_dir / "metrics.csv").is_file()
    check_callbacks(experiment, record["callbacks"])
    if any(name.endswith("Pictures") for name in record["callbacks"]):
        assert list((run_dir / "pictures").glob("*.png"))
    assert list((run_dir / "wandb").glob("offline-run-*"))
    checkpoint = run_dir / "checkpoints" / "best.ckpt"
    assert torch.load(checkpoint, weights_only=True)["plumbline"]["experiment"] == experiment.stem

    module = load_module(checkpoint)
    size = (64, 64)
    output = module(torch.rand(1, 3, *size))
    assert len(output) == 1
    maps = output[0]["masks"] if isinstance(output, list) else output  # a list holds detections
    assert maps.shape[-2:] == size

    main(["test", *common, "--ckpt_path", str(checkpoint)])
    (test_dir,) = (p for p in (tmp_path / "runs" / experiment.stem).iterdir() if p.name.endswith("-test"))
    again = json.loads((test_dir / "run.json").read_text())["test"]
    assert again == pytest.approx(record["test"], abs=1e-6, nan_ok=True)
    assert all(key.startswith("test/") for key in again)


def check_callbacks(experiment, names):
    """The callbacks of a run are those of every run and those of its task, checkpoints last."""
    of_task = TASK_CALLBACKS.get(slug(experiment))
    if experiment.stem in WITHOUT_TRAJECTORIES:
        of_task = of_task[:-1]
    assert set(names) >= OF_EVERY_RUN
    known = {name for group in TASK_CALLBACKS.values() for name in group}
    drawn = tuple(name for name in names if name in known)
    assert drawn if of_task is None else drawn == of_task
    assert names[-2:] == ["ModelCheckpoint", "ModelCheckpoint"]
    assert names.count("ModelCheckpoint") == 2


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda p: p.stem)
def test_first_line_names_paper_and_data(experiment):
    first = experiment.read_text().splitlines()[0]
    assert re.match(r"# [a-z0-9_]+, .+: .+", first), "the first comment line names slug, data and variant"
    slug = first.removeprefix("# ").split(",")[0]
    if slug == "segmenter":  # the teacher of proxy labels is no paper
        slug = "teachers.segmenter"
    paper = ROOT / "lightning_modules" / slug.replace(".", "/")
    assert paper.with_suffix(".py").is_file() or (paper / "module.py").is_file()
    assert read_settings(experiment)["model"]["class_path"].startswith(f"lightning_modules.{slug}.")


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda p: p.stem)
def test_embedded_experiments_need_no_download(experiment):
    if is_embedded(experiment):
        networks = [
            value["init_args"]
            for name, value in read_settings(experiment)["model"]["init_args"].items()
            if name.endswith("network") and value is not None and "encoder" in value.get("init_args", {})
        ]
        assert all(network["encoder_weights"] in {None, "bundled"} for network in networks)


def test_every_experiment_is_on_the_experiments_page():
    page = (ROOT / "docs" / "experiments.md").read_text()
    missing = [p.stem for p in EXPERIMENTS if f"`{p.stem}`" not in page]
    assert not missing
