"""What all tests share: an offline environment and a tiny data set of each kind."""

import os

# Before any import of the project: nothing may look for a hub, an update or a W&B server.
os.environ["WANDB_MODE"] = "offline"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share the cores

import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """Each test starts from the same seed, in a folder of its own, with no run id left over."""
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    for variable in ("PLUMBLINE_RUN_ID", "PLUMBLINE_TRACEBACK", "PLUMBLINE_DATA"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def rooms_root(tmp_path_factory):
    """Folder in which the tiny rooms of ``tests/overlays/rooms.yaml`` are made once per session."""
    return tmp_path_factory.mktemp("rooms")


@pytest.fixture(scope="session")
def nyuv2_root(tmp_path_factory):
    """A tiny NYU Depth v2 labelled set in its original layout."""
    from tests.data.make_nyuv2_labeled import make_nyuv2_labeled

    root = tmp_path_factory.mktemp("nyuv2")
    make_nyuv2_labeled(root)
    return root
