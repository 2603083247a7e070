"""Camera paths chained from clips against the poses they were made of, gaps, strides, padding and several processes."""

import json
import logging

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from scipy.spatial.transform import Rotation
from torch.utils.data import DataLoader

from lightning_modules.callbacks.trajectory_writer import TrajectoryWriter, chain, consecutive
from structures.batch import PADDING_INDEX
from structures.tum import read_tum
from tests.helpers import quiet_trainer


def path_of(sequence: str, n: int = 12) -> torch.Tensor:
    """A smooth path, ``T_world_camera`` ``(n, 4, 4)``, another one for each sequence."""
    phase = float(sum(map(ord, sequence)))
    t = np.arange(n)
    T = np.tile(np.eye(4), (n, 1, 1))
    T[:, :3, :3] = Rotation.from_euler("yxz", np.stack([0.1 * t + phase, 0.05 * t, 0.02 * t], axis=1)).as_matrix()
    T[:, :3, 3] = np.stack([0.1 * t, 0.3 * np.sin(0.4 * t + phase), 0.02 * t**2], axis=1)
    return torch.from_numpy(T)


def from_first(T_world_camera: torch.Tensor) -> np.ndarray:
    return (torch.linalg.inv(T_world_camera[0]) @ T_world_camera).numpy()


class Clips(torch.utils.data.Dataset):
    """Clips of three frames around given targets of two sequences."""

    def __init__(self, targets, stride=1, keys=("frames", "T_frame_target")):
        self.targets, self.stride, self.keys = targets, stride, keys

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, position):
        sequence, frame = self.targets[position]
        numbers = [frame - self.stride, frame, frame + self.stride]
        T_world_camera = path_of(sequence)[numbers]
        T_frame_target = torch.linalg.inv(T_world_camera) @ T_world_camera[1]
        sample = {
            "image": torch.zeros(3, 4, 4),
            "frames": torch.zeros(3, 3, 4, 4),
            "T_frame_target": T_frame_target.float(),
            "name": f"{sequence}/{frame:04d}",
            "index": position,
        }
        return {key: value for key, value in sample.items() if key in ("image", "name", "index", *self.keys)}


class Posing(LightningModule):
    """Knows every motion, but its metre is 1/5."""

    factor = 5.0
    stride = 1

    def predict_depth(self, batch):
        return 2 * torch.ones_like(batch["image"][:, :1])

    def relative_poses(self, batch, depth):
        assert (depth == 2).all()
        assert depth.shape == (len(batch["image"]), 1, 4, 4)
        true = []
        for name in batch["name"]:
            sequence, frame = name.rsplit("/", 1)
            true.append(Clips([(sequence, int(frame))], stride=self.stride)[0]["T_frame_target"])
        T_frame_target = torch.stack(true)
        T_frame_target[..., :3, 3] *= self.factor
        return T_frame_target

    def test_step(self, batch, batch_idx):
        pass


def run_test(root, targets, *, module=None, stride=1, keys=("frames", "T_frame_target"), batch_size=4, **settings):
    trainer = quiet_trainer(
        default_root_dir=root,
        callbacks=[TrajectoryWriter(stride)],
        **settings,
    )
    module = Posing() if module is None else module
    module.stride = stride
    trainer.test(module, DataLoader(Clips(targets, stride, keys), batch_size=batch_size), verbose=False)
    return sorted(str(path.relative_to(root / "trajectories")) for path in (root / "trajectories").rglob("*.*"))


def test_chained_clips_are_the_path(tmp_path):
    targets = [("house/a", k) for k in range(1, 11)] + [("b", k) for k in (3, 1, 2, 4)]
    files = run_test(tmp_path, targets)
    assert files == ["b.txt", "b_true.txt", "errors.json", "house/a.txt", "house/a_true.txt"]
    for sequence, first, last in (("house/a", 1, 11), ("b", 1, 5)):
        expected = from_first(path_of(sequence)[first : last + 1])
        times, true = read_tum(tmp_path / "trajectories" / f"{sequence}_true.txt")
        np.testing.assert_array_equal(times, np.arange(first, last + 1))
        np.testing.assert_allclose(true, expected, atol=1e-5)
        times, poses = read_tum(tmp_path / "trajectories" / f"{sequence}.txt")
        np.testing.assert_array_equal(times, np.arange(first, last + 1))
        expected[:, :3, 3] *= 5
        np.testing.assert_allclose(poses, expected, atol=1e-5)
    errors = json.loads((tmp_path / "trajectories" / "errors.json").read_text())
    assert list(errors) == ["b", "house/a"]
    assert errors["house/a"]["frames"] == 11
    assert errors["house/a"]["scale"] == pytest.approx(0.2, rel=1e-4)
    assert errors["house/a"]["ate_rmse_m"] == pytest.approx(0, abs=1e-5)
    assert errors["house/a"]["rotation_error_deg"] == pytest.approx(0, abs=1e-3)


def test_a_gap_begins_a_new_path(tmp_path):
    files = run_test(tmp_path, [("a", k) for k in (1, 2, 6, 7, 8)], keys=("frames",))
    assert files == ["a.txt", "a_part2.txt"]
    for name, first, last in (("a", 1, 3), ("a_part2", 6, 9)):
        times, poses = read_tum(tmp_path / "trajectories" / f"{name}.txt")
        np.testing.assert_array_equal(times, np.arange(first, last + 1))
        expected = from_first(path_of("a")[first : last + 1])
        expected[:, :3, 3] *= 5
        np.testing.assert_allclose(poses, expected, atol=1e-5)


def test_a_stride_takes_every_nth_frame(tmp_path):
    assert run_test(tmp_path, [("a", k) for k in range(3, 9)], stride=3) == ["a.txt", "a_true.txt", "errors.json"]
    times, poses = read_tum(tmp_path / "trajectories" / "a_true.txt")
    np.testing.assert_array_equal(times, [3, 6, 9])
    np.testing.assert_allclose(poses, from_first(path_of("a")[[3, 6, 9]]), atol=1e-5)


@pytest.mark.parametrize(
    ("frames", "stride", "runs"),
    [
        ([], 1, []),
        ([7], 1, [[7]]),
        ([3, 1, 2], 1, [[1, 2, 3]]),
        (range(10), 3, [[0, 3, 6, 9]]),
        (range(9), 3, [[0, 3, 6]]),
        ([0, 1, 2, 3, 10, 11, 12], 2, [[0, 2], [10, 12]]),
    ],
)
def test_runs_are_cut_at_gaps(frames, stride, runs):
    assert consecutive(frames, stride=stride) == runs


def test_a_chain_stays_rigid_over_a_long_video():
    turn = torch.from_numpy(Rotation.from_rotvec([0.1, 0.2, -0.05]).as_matrix()).float()
    step = torch.eye(4)
    step[:3, :3] = turn
    path = chain(dict.fromkeys(range(2000), step.double()), range(2000))
    gram = path[-1, :3, :3].T @ path[-1, :3, :3]
    torch.testing.assert_close(gram, torch.eye(3, dtype=torch.float64), atol=5e-4, rtol=0)


def test_padding_names_without_numbers_and_lone_images_are_passed_over(tmp_path):
    targets = [("a", 1), ("a", 2), ("a", 8)]
    clips = Clips(targets)
    samples = [clips[position] for position in range(3)]
    samples[2]["index"] = PADDING_INDEX
    samples.append({**samples[0], "name": "0001"})
    writer = TrajectoryWriter()
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path)
    module = Posing()
    module.relative_poses = lambda batch, depth: batch["T_frame_target"]
    batch = torch.utils.data.default_collate(samples)
    writer.on_test_batch_end(trainer, module, None, batch, 0)
    assert {sequence: sorted(steps) for sequence, steps in writer._predicted.items()} == {"a": [1, 2]}
    assert run_test(tmp_path, targets, keys=()) == []


def test_poses_that_are_not_finite_are_left_out_and_told(tmp_path, caplog):
    module = Posing()
    module.factor = float("nan")
    with caplog.at_level(logging.WARNING):
        assert run_test(tmp_path, [("a", 1), ("a", 2)], module=module) == []
    assert "trajectory of 'a' is not finite" in caplog.text


def test_fast_dev_run_writes_nothing(tmp_path):
    assert run_test(tmp_path, [("a", 1), ("a", 2)], fast_dev_run=True) == []


def test_several_processes_get_one_warning_and_no_file(tmp_path, caplog):
    class TwoProcesses:
        world_size, is_global_zero, fast_dev_run, default_root_dir = 2, True, False, str(tmp_path)

    writer, trainer, module = TrajectoryWriter(), TwoProcesses(), Posing()
    with caplog.at_level(logging.WARNING):
        writer.on_test_start(trainer, module)
        for position in range(2):
            writer.on_test_batch_end(
                trainer, module, None, torch.utils.data.default_collate([Clips([("a", 1 + position)])[0]]), position
            )
        writer.on_test_end(trainer, module)
    assert [record.getMessage() for record in caplog.records] == [
        "no trajectories are written: 2 processes share the videos; test on one device to get them"
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_work_is_refused(tmp_path):
    with pytest.raises(ValueError, match="stride is 0"):
        TrajectoryWriter(0)

    class Still(Posing):
        relative_poses = None

    with pytest.raises(ValueError, match="Still has no relative_poses"):
        run_test(tmp_path, [("a", 1)], module=Still())
