"""Every loss whose mean runs over the batch has the value and the gradient of one process on two processes, too.

Each process gets every second sample of a batch of four whose samples have very different numbers of pixels.
"""

import pytest
import torch

from geometry.boxes import box_masks
from geometry.processes import global_batch
from losses.affine import multi_scale_gradient_matching, scale_and_shift_invariant, trimmed_scale_and_shift_invariant
from losses.by_kind import mixed_truth_loss
from losses.composite import DEPTH_LOSSES
from losses.consistency import (
    image_consistency,
    relative_difference,
    signed_inconsistency,
    spread_difference,
)
from losses.fcos import focal_loss, giou_loss, quality_loss
from losses.manhattan import normal_alignment_loss
from losses.pairwise_affinity import pairwise_loss
from losses.pixel_pairs import PixelPairs
from losses.planar import planar_loss
from losses.ranking import ranking
from losses.semantic import proxy_cross_entropy
from losses.smoothness import edge_aware_smoothness
from losses.weighting import Averaging, GradientAwareMask, KeypointWeighting
from tests.two_processes import WORLD_SIZE, in_two_processes

B, H, W = 4, 24, 32


def batch():
    """Predictions, ground truth and everything else that a loss below takes, four samples each."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    share = torch.tensor([0.05, 0.9, 0.3, 1.1]).view(B, 1, 1, 1)
    positive = rand(B, 40) < torch.tensor([0.0, 0.05, 0.5, 0.3]).view(B, 1)
    first, second = (torch.randint(0, H * W, (B, 60), generator=generator) for _ in range(2))
    boxes = torch.tensor([[2.0, 2, 9, 8], [0, 0, 31, 23], [4, 6, 20, 20], [10, 3, 14, 22]])
    return {
        "prediction": 0.5 + rand(B, 1, H, W),
        "target": 0.5 + rand(B, 1, H, W),
        "mask": rand(B, 1, H, W) < share,
        "image": rand(B, 3, H, W),
        "kind": torch.tensor([0, 1, 2, 3]),
        "first": first,
        "second": second,
        "logits": 2 * rand(B, 40, 3) - 1,
        "labels": torch.where(positive, torch.randint(1, 4, (B, 40), generator=generator), 0),
        "ltrb": 1 + 4 * rand(B, 40, 4),
        "ltrb_target": 1 + 4 * rand(B, 40, 4),
        "weights": torch.where(positive, 0.1 + rand(B, 40), 0.0),
        "pairs": rand(B, 8, H, W) < share,
        "inside": box_masks(boxes.unsqueeze(1), (H, W), stride=1),
        "classes": torch.where(
            rand(B, H, W) < share.squeeze(1), torch.randint(1, 5, (B, H, W), generator=generator), 0
        ),
        "scores": rand(B, 5, H, W),
        "slopes": rand(B, 2) - 0.2,
        "segments": (torch.arange(H * W).view(1, H, W) // 256 + 1).repeat(B, 1, 1),
    }


def truth(b):
    return {"target": b["target"], "mask": b["mask"]}


def mixed(name):
    def loss(b, p):
        pairs = PixelPairs(b["first"], b["second"], b["first"] != b["second"])
        terms = mixed_truth_loss(p, truth=b["target"], truth_mask=b["mask"], kind=b["kind"], pairs=pairs)
        return getattr(terms, name)

    return loss


def ordered(b, p):
    return ranking(p, **truth(b), pairs=PixelPairs(b["first"], b["second"], b["first"] != b["second"]))


def pairwise(b, p):
    return pairwise_loss(p, weights=b["pairs"], box_masks=b["inside"], image_index=torch.arange(len(p)))


def n_positives(b):
    return (b["labels"] > 0).sum()


def quality(b, p):
    target = b["weights"].clamp(max=1)
    return quality_loss(p[..., 0], target=target, positive=b["labels"] > 0, n_positives=n_positives(b))


def weighted(weighting):
    def loss(b, p):
        return weighting(p[:, 0], image=b["image"], keypoints=b["mask"])

    return loss


def gradient(b, p):
    return multi_scale_gradient_matching(p, **truth(b), scales=3, align=False)


def rendered(b, p):
    return image_consistency(p.expand(-1, 3, -1, -1), image=b["image"], mask=b["inside"])


def aligned_normals(b, p):
    normals = torch.nn.functional.normalize(p.expand(-1, 3, -1, -1) * b["image"], dim=1)
    return normal_alignment_loss(normals, aligned=b["image"], mask=b["mask"])


LOSSES = {
    # A loss of ilnr or ssim needs more pixels than the first samples have; they share their means with the others.
    **{name: lambda b, p, loss=loss: loss(p, **truth(b)) for name, loss in DEPTH_LOSSES.items() if name != "ssim"},
    "scale_and_shift_invariant": lambda b, p: scale_and_shift_invariant(p, **truth(b)),
    "trimmed": lambda b, p: trimmed_scale_and_shift_invariant(p, **truth(b)),
    "gradient_unaligned": gradient,
    "mixed_ssi": mixed("ssi"),
    "mixed_gradient": mixed("gradient"),
    "mixed_ranking": mixed("ranking"),
    "ranking": ordered,
    "relative": lambda b, p: relative_difference(p, b["target"], mask=b["mask"]),
    "spread": lambda b, p: spread_difference(p, b["target"], mask=b["mask"]),
    "spread_of_prediction": lambda b, p: spread_difference(b["target"], p, mask=b["mask"]),
    "image": rendered,
    "averaging": weighted(Averaging()),
    "keypoints": weighted(KeypointWeighting()),
    "gradient_aware": weighted(GradientAwareMask()),
    "smoothness": lambda b, p: edge_aware_smoothness(p, image=b["image"]),
    "normals": aligned_normals,
    "planar": lambda b, p: planar_loss(p, planar_depth_m=b["target"], segments=b["segments"], border=2),
    "pairwise": pairwise,
}
OTHERS = {
    "focal": ("logits", lambda b, p: focal_loss(p, labels=b["labels"], n_positives=n_positives(b))),
    "quality": ("logits", quality),
    "giou": ("ltrb", lambda b, p: giou_loss(p, target=b["ltrb_target"], weights=b["weights"])),
    "cross_entropy": ("scores", lambda b, p: proxy_cross_entropy(p, labels=b["classes"])),
    "signed": ("slopes", lambda b, p: signed_inconsistency(p.T)),
}
CASES = {name: ("prediction", loss) for name, loss in LOSSES.items()} | OTHERS


def values(rank, world_size):
    """Loss and gradient of every case for one process's samples."""
    found = {}
    for name, (trained, loss) in CASES.items():
        own = {key: value[rank::world_size] for key, value in batch().items()}
        own[trained] = own[trained].clone().requires_grad_()
        with global_batch():
            value = loss(own, own[trained])
        value.backward()
        found[name] = (float(value), own[trained].grad.tolist())
    return found


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory):
    return values(0, 1), in_two_processes(values, tmp_path_factory.mktemp("processes"), WORLD_SIZE)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_loss_and_the_gradient_of_one(name, one_and_two):
    one, two = one_and_two
    value, gradient = one[name]
    assert value != 0
    assert sum(found[name][0] for found in two) / WORLD_SIZE == pytest.approx(value, rel=2e-6)
    wanted = torch.tensor(gradient)
    assert float(wanted.abs().max()) > 0
    for rank, found in enumerate(two):
        own = torch.tensor(found[name][1]) / WORLD_SIZE  # the gradients are averaged
        torch.testing.assert_close(own, wanted[rank::WORLD_SIZE], rtol=2e-5, atol=1e-6 * float(wanted.abs().max()))
