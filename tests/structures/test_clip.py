"""The middle frame of a clip and its neighbours."""

import pytest
import torch

from structures.clip import source_positions, sources_of, target_of


@pytest.mark.parametrize("n_frames", [3, 5, 7])
def test_the_target_and_the_sources_are_all_frames(n_frames):
    frames = torch.arange(n_frames).view(1, n_frames, 1, 1, 1).expand(2, -1, 3, 4, 4)
    middle = n_frames // 2
    assert (target_of(frames) == middle).all()
    sources = sources_of(frames)
    assert sources.shape == (2, n_frames - 1, 3, 4, 4)
    assert sources[0, :, 0, 0, 0].tolist() == [k for k in range(n_frames) if k != middle]


@pytest.mark.parametrize("n_frames", [1, 2, 4])
def test_a_clip_without_a_middle_is_refused(n_frames):
    with pytest.raises(ValueError, match=f"at least 3, but this one has {n_frames}"):
        source_positions(n_frames)
