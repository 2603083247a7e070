"""Errors of camera motion against numpy and scipy, closed forms, and every way of cutting into batches."""

import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from scipy.spatial.transform import Rotation

from metrics.trajectory import PoseErrors, pose_errors


def clips(n: int = 5, n_frames: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted and true ``(n, n_frames, 4, 4)``: similar motions, the predicted ones of another scale in each clip."""
    rng = np.random.default_rng(seed)
    true = np.tile(np.eye(4), (n, n_frames, 1, 1))
    true[..., :3, :3] = (
        Rotation.from_rotvec(0.1 * rng.standard_normal((n * n_frames, 3))).as_matrix().reshape(n, n_frames, 3, 3)
    )
    true[..., :3, 3] = 0.2 * rng.standard_normal((n, n_frames, 3))
    predicted = true.copy()
    wrong = Rotation.from_rotvec(0.05 * rng.standard_normal((n * n_frames, 3))).as_matrix()
    predicted[..., :3, :3] = wrong.reshape(n, n_frames, 3, 3) @ true[..., :3, :3]
    scale = rng.uniform(0.1, 9, (n, 1, 1))
    predicted[..., :3, 3] = scale * (true[..., :3, 3] + 0.1 * rng.standard_normal((n, n_frames, 3)))
    return torch.from_numpy(predicted).float(), torch.from_numpy(true).float()


def reference(predicted: torch.Tensor, true: torch.Tensor) -> tuple[float, float]:
    angles, error, length = [], 0.0, 0.0
    middle = predicted.shape[1] // 2
    for p, t in zip(predicted.double().numpy(), true.double().numpy(), strict=True):
        p, t = np.delete(p, middle, axis=0), np.delete(t, middle, axis=0)
        for a, b in zip(p, t, strict=True):
            relative = Rotation.from_matrix(a[:3, :3]).inv() * Rotation.from_matrix(b[:3, :3])
            angles.append(np.degrees(relative.magnitude()))
        (scale,), _ = nnls(p[:, :3, 3].reshape(-1, 1), t[:, :3, 3].ravel())
        error += np.linalg.norm(scale * p[:, :3, 3] - t[:, :3, 3], axis=1).sum()
        length += np.linalg.norm(t[:, :3, 3], axis=1).sum()
    return float(np.mean(angles)), error / length


@pytest.mark.parametrize("n_frames", [3, 5])
def test_errors_equal_the_reference(n_frames):
    predicted, true = clips(n_frames=n_frames)
    predicted[1, :, :3, 3] *= -1  # the best non-negative scale of this clip is 0
    errors = pose_errors(predicted, true_T_frame_target=true)
    rotation_deg, translation = reference(predicted, true)
    assert errors["pose_rotation_deg"].item() == pytest.approx(rotation_deg, rel=1e-6)
    assert errors["pose_translation_rel"].item() == pytest.approx(translation, rel=1e-6)
    assert 1 < rotation_deg < 20
    assert 0.2 < translation < 1


def test_the_scale_of_a_clip_is_free_and_the_target_is_not_looked_at():
    predicted, true = clips()
    predicted = true.clone()
    predicted[..., :3, 3] *= torch.tensor([0.01, 0.5, 1, 3, 100]).view(5, 1, 1)
    predicted[:, 2] = torch.nan
    errors = pose_errors(predicted, true_T_frame_target=true)
    assert errors["pose_rotation_deg"].item() == pytest.approx(0, abs=1e-4)
    assert errors["pose_translation_rel"].item() == pytest.approx(0, abs=1e-6)


def test_small_rotations_keep_their_digits():
    true = torch.eye(4).repeat(2, 3, 1, 1)
    predicted = true.double()
    for degrees in (1e-5, 0.01, 179.99):
        turn = torch.from_numpy(Rotation.from_rotvec([0, np.radians(degrees), 0]).as_matrix())
        predicted[:, [0, 2], :3, :3] = turn
        errors = pose_errors(predicted, true_T_frame_target=true)
        assert errors["pose_rotation_deg"].item() == pytest.approx(degrees, rel=1e-9)


def test_no_motion_and_the_opposite_motion_are_all_wrong():
    _, true = clips()
    still = torch.eye(4).expand_as(true)
    assert pose_errors(still, true_T_frame_target=true)["pose_translation_rel"].item() == 1
    backwards = true.clone()
    backwards[..., :3, 3] *= -1
    assert pose_errors(backwards, true_T_frame_target=true)["pose_translation_rel"].item() == 1


def test_a_motion_at_a_right_angle_is_all_wrong_and_one_at_45_degrees_partly():
    true = torch.eye(4).repeat(1, 3, 1, 1)
    true[0, [0, 2], 0, 3] = torch.tensor([-0.1, 0.1])
    predicted = torch.eye(4).repeat(1, 3, 1, 1)
    predicted[0, [0, 2], 1, 3] = torch.tensor([-2.0, 2.0])
    assert pose_errors(predicted, true_T_frame_target=true)["pose_translation_rel"].item() == 1
    predicted[0, [0, 2], 0, 3] = torch.tensor([-2.0, 2.0])
    errors = pose_errors(predicted, true_T_frame_target=true)
    assert errors["pose_translation_rel"].item() == pytest.approx(np.sqrt(0.5), rel=1e-6)


def test_uneven_batches_and_ranks_equal_one():
    predicted, true = clips(9)
    whole = pose_errors(predicted, true_T_frame_target=true)
    metric, merged = PoseErrors(), PoseErrors()
    for start, stop in ((0, 1), (1, 2), (2, 8), (8, 9)):
        metric.update(predicted[start:stop], true_T_frame_target=true[start:stop])
        rank = PoseErrors()
        rank.update(predicted[start:stop], true_T_frame_target=true[start:stop])
        assert rank._reductions["sums"].__name__ == "dim_zero_sum"
        assert rank.sums.dtype is torch.float64
        merged.sums = merged.sums + rank.sums
    merged._update_count = 1
    for other in (metric, merged, pickle.loads(pickle.dumps(metric))):
        torch.testing.assert_close(other.compute(), whole, rtol=1e-12, atol=0)
    metric.reset()
    metric.update(predicted[:2], true_T_frame_target=true[:2])
    torch.testing.assert_close(metric.compute(), pose_errors(predicted[:2], true_T_frame_target=true[:2]))


def test_clips_that_only_pad_do_not_count():
    predicted, true = clips()
    expected = pose_errors(predicted[[0, 2]], true_T_frame_target=true[[0, 2]])
    counted = torch.tensor([True, False, True, False, False])
    predicted[1] = torch.nan
    torch.testing.assert_close(pose_errors(predicted, true_T_frame_target=true, counted=counted), expected)
    none = pose_errors(predicted, true_T_frame_target=true, counted=torch.zeros(5, dtype=torch.bool))
    assert all(value.isnan() for value in none.values())


def test_nan_stays_visible():
    predicted, true = clips()
    predicted[3, 0] = torch.nan
    assert all(value.isnan() for value in pose_errors(predicted, true_T_frame_target=true).values())


def test_bad_shapes_are_named():
    predicted, true = clips()
    with pytest.raises(ValueError, match=r"shapes \(5, 3, 4, 4\) and \(5, 5, 4, 4\)"):
        pose_errors(predicted[:, :3], true_T_frame_target=true)
    with pytest.raises(ValueError, match="has 4 frames, but an odd number"):
        pose_errors(predicted[:, :4], true_T_frame_target=true[:, :4])
    with pytest.raises(ValueError, match=r"counted is torch\.int64"):
        pose_errors(predicted, true_T_frame_target=true, counted=torch.ones(5, dtype=torch.int64))
