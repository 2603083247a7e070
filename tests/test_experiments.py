"""Every experiment, found by looking: fitted two steps, reloaded, tested again to the same numbers."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from cli import main
from lightning_modules.loading import load_module

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted(path for path in (ROOT / "experiments").glob("*.yaml") if not path.name.startswith("_"))


def data_name(experiment: Path) -> str:
    """``rooms`` for an experiment that says ``data: data/rooms.yaml``."""
    return Path(yaml.safe_load(experiment.read_text())["data"]).stem


def marks(experiment: Path) -> list:
    # Two steps of the paper-scale networks cost more than seconds.
    return [pytest.mark.slow] if data_name(experiment) != "rooms" else []


@pytest.fixture
def data_root(request, experiment):
    return request.getfixturevalue({"rooms": "rooms_root", "nyuv2_labeled": "nyuv2_root"}[data_name(experiment)])


@pytest.mark.parametrize("experiment", [pytest.param(p, id=p.stem, marks=marks(p)) for p in EXPERIMENTS])
def test_experiment_fits_reloads_and_tests(experiment, data_root, tmp_path):
    overlay = ROOT / "tests" / "overlays" / f"{data_name(experiment)}.yaml"
    common = ["--config", str(experiment), "--config", str(overlay), "--data.init_args.root", str(data_root)]
    main(["fit", *common])

    (run_dir,) = (tmp_path / "runs" / experiment.stem).iterdir()
    record = json.loads((run_dir / "run.json").read_text())
    assert record["steps"] == 2
    assert (run_dir / "config.yaml").is_file()
    assert (run_dir / "metrics.csv").is_file()
    assert list((run_dir / "pictures").glob("*.png"))
    assert list((run_dir / "wandb").glob("offline-run-*"))
    checkpoint = run_dir / "checkpoints" / "best.ckpt"
    assert torch.load(checkpoint, weights_only=True)["plumbline"]["experiment"] == experiment.stem

    module = load_module(checkpoint)
    size = (64, 64)
    assert module(torch.rand(1, 3, *size)).shape == (1, 1, *size)

    main(["test", *common, "--ckpt_path", str(checkpoint)])
    (test_dir,) = (p for p in (tmp_path / "runs" / experiment.stem).iterdir() if p.name.endswith("-test"))
    again = json.loads((test_dir / "run.json").read_text())["test"]
    assert again == pytest.approx(record["test"], abs=1e-6, nan_ok=True)
    assert all(key.startswith("test/") for key in again)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda p: p.stem)
def test_first_line_names_paper_and_data(experiment):
    first = experiment.read_text().splitlines()[0]
    assert re.match(r"# [a-z0-9_]+, .+: .+", first), "the first comment line names slug, data and variant"
    slug = first.removeprefix("# ").split(",")[0]
    assert (ROOT / "lightning_modules" / f"{slug}.py").is_file()
    assert f"lightning_modules.{slug}." in experiment.read_text()


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda p: p.stem)
def test_embedded_experiments_need_no_download(experiment):
    if data_name(experiment) == "rooms":
        resolved = yaml.safe_load(experiment.read_text())["model"]["init_args"]["network"].get("init_args", {})
        if "networks.constant" not in experiment.read_text() and "networks.fcn" not in experiment.read_text():
            assert resolved["encoder_weights"] in {None, "bundled"}


def test_every_experiment_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    missing = [p.stem for p in EXPERIMENTS if f"`{p.stem}`" not in readme]
    assert not missing
