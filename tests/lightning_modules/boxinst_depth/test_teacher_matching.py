"""Bipartite matching of predictions to boxes, against exhaustive search, and the depth agreement of masks."""

import itertools

import pytest
import torch

from lightning_modules.boxinst_depth.teacher_matching import depth_agreement, match
from losses.pairwise_affinity import depth_similarity


def test_depth_agreement_is_the_share_of_alike_pairs_inside_of_the_mask():
    depth = torch.zeros(1, 1, 6, 8)
    depth[..., 4:] = 1.0
    similarity = depth_similarity(depth, depth_scale=10.0, dilation=1)[0]
    flat, torn, empty = torch.zeros(3, 6, 8, dtype=torch.bool)
    flat[1:4, 0:4] = True
    torn[2, 3:6] = True  # pairs 3-4 (apart) and 4-5 (alike)
    assert depth_agreement(
        torch.stack([flat, torn, empty]), similarity, threshold=0.5, dilation=1
    ).tolist() == [1.0, 0.5, 0.0]  # fmt: skip


def test_pairs_of_unknown_depth_say_nothing():
    known = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    known[..., 2:] = False
    similarity = depth_similarity(torch.rand(1, 1, 4, 4), depth_scale=0.1, depth_mask=known, dilation=1)[0]
    masks = torch.ones(1, 4, 4, dtype=torch.bool)
    assert depth_agreement(masks, similarity, threshold=0.5, dilation=1).tolist() == [1.0]
    assert depth_agreement(masks, torch.zeros(8, 4, 4), threshold=0.5, dilation=1).tolist() == [0.0]


@pytest.mark.parametrize("seed", range(8))
def test_the_match_is_the_best_of_all_assignments(seed):
    generator = torch.Generator().manual_seed(seed)
    n_boxes, n_found = 3, 4
    overlap = torch.rand(n_boxes, n_found, generator=generator)
    same = torch.rand(n_boxes, n_found, generator=generator) > 0.3
    depth, confidence = torch.rand(2, n_found, generator=generator)
    settings = {"alpha": 0.5, "beta": 0.2, "min_iou": 0.3}
    chosen, score = match(overlap, same_class=same, depth=depth, confidence=confidence, **settings)
    value = 0.5 * overlap + 0.2 * depth + 0.3 * confidence
    allowed = same & (overlap >= 0.3)
    best = 0.0
    for columns in itertools.product([-1, *range(n_found)], repeat=n_boxes):
        used = [column for column in columns if column >= 0]
        pairs = [(row, column) for row, column in enumerate(columns) if column >= 0]
        if len(set(used)) == len(used) and all(allowed[pair] for pair in pairs):
            best = max(best, sum(float(value[pair]) for pair in pairs))
    assert float(score.sum()) == pytest.approx(best)
    for row, column in enumerate(chosen.tolist()):
        assert float(score[row]) == pytest.approx(0 if column < 0 else float(value[row, column]))
        assert column < 0 or bool(allowed[row, column])


def test_without_boxes_or_predictions_nothing_is_matched():
    for shape in ((0, 3), (2, 0)):
        nothing = torch.zeros(shape)
        settings = {"alpha": 1.0, "beta": 0.0, "min_iou": 0.5}
        chosen, score = match(
            nothing, same_class=nothing > 0, depth=nothing.sum(0), confidence=nothing.sum(0), **settings
        )
        assert chosen.tolist() == [-1] * shape[0]
        assert score.tolist() == [0.0] * shape[0]
