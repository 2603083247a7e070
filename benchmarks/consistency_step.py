"""A training step of render consistency against one of the scale-and-shift-invariant loss alone.

The modules are those of ``experiments/render_consistency_camera.yaml``: without consistency, as the file has it (the
shift learned from views about the camera), and with the paper's three terms of rendered scenes through the network.
"""

from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule

from benchmarks.timing import median_seconds
from geometry.camera import intrinsics_from_field_of_view
from lightning_modules.command_line.extends import read_settings
from lightning_modules.render_consistency import RenderConsistency
from structures.depth_kind import DepthKind, MixedBatch

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "render_consistency_camera.yaml"
SIZE = (16, 64, 96)
REPEATS = 6
DATA_TERMS = {"ssi": 1.0, "gradient": 0.5}
PAPER_TERMS = {"forward": 1.0, "back_depth": 1.0, "back_image": 1.0}


def make_module(**changes: Any) -> RenderConsistency:
    """The module of the experiment with other constructor arguments, past its warm-up."""
    settings = read_settings(EXPERIMENT)["model"]
    settings["init_args"] |= {"warmup": 0.0, "ramp": 0.0} | changes
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningModule, "model")
    module: RenderConsistency = parser.instantiate(parser.parse_object({"model": settings})).model
    module.setup("fit")
    return module.train()


def make_batch(size: tuple[int, int, int] = SIZE, device: str = "cpu") -> MixedBatch:
    """Smooth made-up pictures with affine truth."""
    count, height, width = size
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 4, max(2, height // 16), max(2, width // 16), generator=generator)
    maps = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear").to(device)
    mask = torch.ones(count, 1, height, width, dtype=torch.bool, device=device)
    K = intrinsics_from_field_of_view(1.0, height=height, width=width).to(device).expand(count, 3, 3)
    return {
        "image": maps[:, :3],
        "depth": torch.zeros_like(maps[:, 3:]),
        "depth_mask": ~mask,
        "truth": 1 + maps[:, 3:],
        "truth_mask": mask,
        "kind": torch.full((count,), int(DepthKind.AFFINE_DEPTH), device=device),
        "K": K,
        "K_known": torch.ones(count, dtype=torch.bool, device=device),
        "depth_scale_m": torch.full((count,), 10.0, device=device),
        "index": torch.arange(count, device=device),
        "name": [str(index) for index in range(count)],
    }


def rows(
    device: str = "cpu", *, size: tuple[int, int, int] = SIZE, repeats: int = REPEATS
) -> list[tuple[str, float, float]]:
    """Steps a second with and without consistency, by loss terms; the ratio should be at least a third."""
    scene = {
        "class_path": "lightning_modules.render_consistency.view_sampling.ViewSampler",
        "init_args": {"about": "scene"},
    }
    modules = [
        make_module(loss_weights=DATA_TERMS, learn_shift=False),
        make_module(),
        make_module(loss_weights=DATA_TERMS | PAPER_TERMS, learn_shift=False, views=scene, residual="relative"),
    ]
    batch = make_batch(size, device)

    def work(module: RenderConsistency) -> Any:
        optimizer = torch.optim.AdamW([p for p in module.to(device).parameters() if p.requires_grad])

        def step() -> None:
            optimizer.zero_grad()
            torch.stack(list(module.weighted(module.loss_terms(batch)).values())).sum().backward()
            optimizer.step()

        step()
        return step

    plain, learned, paper = median_seconds(*(work(module) for module in modules), repeats=repeats, device=device)
    where = "" if device == "cpu" else ", on the GPU"
    return [
        (
            f"step of render_consistency, shift learned{where}, steps/s: with | without consistency",
            1 / learned,
            1 / plain,
        ),
        (f"the same, the paper's three terms with splats{where}, steps/s: with | without", 1 / paper, 1 / plain),
    ]
