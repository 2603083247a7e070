"""Run folders as trainings leave them, written in milliseconds."""

import json
from pathlib import Path

import numpy as np
import yaml

from structures.sample_file import SampleRecord, write_samples

PAPERS = {
    "lite_unet": ("lightning_modules.supervised_depth.SupervisedDepth", "datamodules.rooms.datamodule.RoomsDataModule"),
    "gam_depth": ("lightning_modules.gam_depth.GAMDepth", "datamodules.rooms.video.RoomsVideoDataModule"),
    "render_consistency": (
        "lightning_modules.render_consistency.module.RenderConsistency",
        "datamodules.mixed.MixedDataModule",
    ),
    "boxinst_depth": (
        "lightning_modules.boxinst_depth.module.BoxInstDepth",
        "datamodules.rooms.instances.RoomsInstanceDataModule",
    ),
}


def metrics_text(scores, every=10):
    """A file of metrics with a row of the training and one of validation for each score."""
    lines = ["epoch,step,train/loss,val/score"]
    for k, score in enumerate(scores):
        lines += [f"0,{k * every + every - 1},{2 * score},", f"0,{k * every + every - 1},,{score}"]
    return "\n".join(lines) + "\n"


def make_run(
    root: Path,
    run_id="a",
    *,
    experiment="lite_unet",
    seed=0,
    test=None,
    scores=(0.5, 0.4, 0.3),
    settings=None,
    **record,
):
    """A finished run; ``settings`` are merged into the model's arguments, ``record`` into ``run.json``."""
    folder = root / experiment / run_id
    folder.mkdir(parents=True)
    model, data = PAPERS[experiment]
    config = {
        "seed_everything": seed,
        "experiment": experiment,
        "tags": ["night"],
        "model": {"class_path": model, "init_args": {"lr": 0.1} | (settings or {})},
        "data": {"class_path": data, "init_args": {}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    named = {f"test/{name}": value for name, value in ({"abs_rel_img": 0.3} if test is None else test).items()}
    content = {"experiment": experiment, "seed": seed, "parameters": 1234567, "fit_minutes": 1.5, "peak_memory_gb": 1.2}
    content |= {"commit": "0123456789abcdef", "steps": 30, "started": "2026-01-02T03:04:05+0000", "test": named}
    (folder / "run.json").write_text(json.dumps(content | record))
    (folder / "metrics.csv").write_text(metrics_text(scores))
    return folder


def sample(index=0, *, error=0.1, before=None, height=48, width=64):
    """A sample of a sloping plane whose prediction is too far by a relative error."""
    truth = np.linspace(2, 4, height * width, dtype=np.float32).reshape(height, width)
    truth[:2] = 0
    image = np.random.default_rng(index).integers(0, 255, (height, width, 3), dtype=np.uint8)
    K = np.array([[60.0, 0, width / 2], [0, 60, height / 2], [0, 0, 1]])
    full = np.where(truth > 0, truth, 3)
    earlier = None if before is None else full * (1 + before)
    scores = {"abs_rel": error}
    return SampleRecord(f"room/{index}", image, truth, full * (1 + error), earlier, K, scores)


def keep_samples(folder: Path, samples, kind="depth", stage="val"):
    write_samples(folder / "samples" / f"{kind}_{stage}.npz", samples, step=30, unit="m")


def of_four_papers(root: Path):
    """Runs of four papers: samples, masks, clouds before and after, three seeds of two variants, one still training."""
    for seed in range(3):
        for variant, lr, gain in (("full", 0.1, 0.0), ("slow", 0.01, 0.05)):
            test = {"abs_rel_img": 0.2 + 0.01 * seed + gain + 0.001 * seed * gain, "delta1_img": 0.8 - gain}
            folder = make_run(root, f"{variant}_s{seed}", seed=seed, test=test, settings={"lr": lr})
            keep_samples(folder, [sample(k, error=0.1 + gain) for k in range(2)])
    make_run(root, "g", experiment="gam_depth", test={"abs_rel_img_median": 0.31})
    folder = make_run(root, "c", experiment="render_consistency", test={"abs_rel_img_lsq": 0.09})
    panel = np.full((48, 64, 3), 90, np.uint8)
    record = sample(0, before=0.4)
    keep_samples(folder, [SampleRecord(**{**vars(record), "panels": {"from above, before": panel}})], kind="views")
    folder = make_run(root, "b", experiment="boxinst_depth", test={"mask_ap": 0.4})
    masks = {"ground truth": panel, "prediction": panel + 40}
    keep_samples(folder, [SampleRecord("room/0", panel, panels=masks, scores={"found": 2})], kind="instances")
    folder = make_run(root, "now", test={}, scores=(0.6, 0.5))
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({k: v for k, v in content.items() if k not in ("test", "fit_minutes")}))
