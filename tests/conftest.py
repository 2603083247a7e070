"""Fixtures of all tests: an offline environment and a tiny data set of each kind."""

import os
import signal

# Before any import of the project: nothing may look for a hub, an update or a W&B server.
os.environ["WANDB_MODE"] = "offline"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["PLUMBLINE_ALLOW_CLASS"] = "tests"  # networks and data of the tests, in this process and those it starts
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share the cores

import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

HANDLED_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a training handles; SIGALRM and SIGCHLD belong to pytest and to torch's loaders."""


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """Start each test with the same seed, in its own folder, without a run id, and with the same signal handlers."""
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    for variable in ("RUN_ID", "PLUMBLINE_TRACEBACK", "PLUMBLINE_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")  # Lightning's own logger of an offline run changes it
    # A training that an exception breaks off leaves Lightning's handler of SIGTERM. Forked processes of later tests
    # would inherit it and outlive Pool.terminate(), which then waits for ever.
    before = {number: signal.getsignal(number) for number in HANDLED_SIGNALS}
    yield
    for number, handler in before.items():
        if handler is not None:  # one that Python did not set
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def rooms_root(tmp_path_factory):
    """Folder in which the tiny rooms of ``tests/overlays/rooms.yaml`` are made once per session."""
    return tmp_path_factory.mktemp("rooms")


@pytest.fixture(scope="session")
def nyuv2_labeled_root(tmp_path_factory):
    """A tiny NYU Depth v2 labelled set in its original layout."""
    from tests.data.make_nyuv2_labeled import make_nyuv2_labeled

    root = tmp_path_factory.mktemp("nyuv2")
    make_nyuv2_labeled(root)
    return root


@pytest.fixture
def nyuv2_raw_root(tmp_path):
    """A tiny raw NYU Depth v2 in its original layout, and its label files where the experiments look for them."""
    import numpy as np

    from structures.label_writer import LabelWriter
    from tests.data.make_nyuv2_raw import make_nyuv2_raw, written_path

    root = make_nyuv2_raw(tmp_path / "nyuv2_raw")
    names = [written_path(scene, frame).removesuffix(".ppm") for scene in range(2) for frame in range(10)]
    generator = np.random.default_rng(0)
    arrays = {
        "semantic": [generator.integers(0, 41, (28, 38)).astype(np.uint8) for _ in names],
        "vanishing": [np.eye(3) * (index % 4 > 0) for index in range(len(names))],
    }
    for kind, values in arrays.items():
        # The experiments name them relative to the working directory, which is the test's own folder.
        path = tmp_path / "data" / "labels" / f"nyuv2_{kind}.h5"
        with LabelWriter(path, kind=kind, teacher="a test", settings={}) as writer:
            for name, value in zip(names, values, strict=True):
                writer.write(name, value)
            writer.finish()
    return root


@pytest.fixture(scope="session")
def frames_root(tmp_path_factory):
    """A tiny user video, with a camera file and without depth."""
    from tests.data.make_frames_video import make_frames_video

    return make_frames_video(tmp_path_factory.mktemp("frames"), frames=14)


@pytest.fixture(scope="session")
def mixed_root(tmp_path_factory):
    """A tiny manifest with ground truth of every kind."""
    from tests.data.make_mixed_data import make_mixed_data

    return make_mixed_data(tmp_path_factory.mktemp("mixed")).parent


@pytest.fixture(scope="session")
def coco_root(tmp_path_factory):
    """A tiny COCO in its original layout."""
    from tests.data.make_coco import make_coco

    return make_coco(tmp_path_factory.mktemp("coco"))


@pytest.fixture(scope="session")
def cityscapes_root(tmp_path_factory):
    """A tiny data set in the layout of Cityscapes after its conversion."""
    from tests.data.make_coco import make_coco

    root = make_coco(tmp_path_factory.mktemp("cityscapes"))
    (root / "leftImg8bit").mkdir()
    for split in ("train", "val"):
        (root / f"{split}2017").rename(root / "leftImg8bit" / split)
        (root / "annotations" / f"instances_{split}2017.json").rename(root / "annotations" / f"instances_{split}.json")
    return root
