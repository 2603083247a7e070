"""Train and test a tiny run on CPU processes and write its results: ``ddp_run.py <devices> <output.json>``.

A script, because Lightning starts the other ranks by calling the script again.
"""

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts the script's folder there

import torch
from lightning.pytorch import Trainer, seed_everything

from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.optimisation import Optimisation
from networks.fcn import FCN
from tests.data.memory import MemoryDataModule


def run(devices: int, output: Path) -> None:
    """Train three epochs of a global batch of four and test on an odd number of samples."""
    seed_everything(1, verbose=False)
    # Batch norm would see other batches on two ranks than on one; the FCN has none. SGD keeps the comparison free of
    # Adam's division by small second moments, which amplifies rounding errors.
    module = SupervisedDepth(
        FCN(widths=(4, 4, 8, 8)),
        loss_weights={"mse": 1.0},
        optimisation=Optimisation(partial(torch.optim.SGD, lr=0.05)),
    )
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        use_distributed_sampler=False,
        default_root_dir=output.parent,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = MemoryDataModule((11, 5, 7), batch_size=4 // devices)
    trainer.fit(module, data)
    result = {"val": {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}}
    (test,) = trainer.test(module, data, verbose=False)
    result["test"] = test
    result["steps"] = trainer.global_step
    result["weights"] = torch.cat([p.detach().flatten() for p in module.parameters()]).tolist()
    if trainer.is_global_zero:
        output.write_text(json.dumps(result))


if __name__ == "__main__":
    run(int(sys.argv[1]), Path(sys.argv[2]))
