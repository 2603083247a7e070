"""Planar regions of made-up rooms, a loop over edges for the costs, and the released planar loss of GAM-Depth."""

from pathlib import Path

import numpy as np
import pytest
import torch

from losses.graph_segmentation import segment_grid
from losses.planar import planar_loss, planar_mask, segment_planes

GOLDEN = Path(__file__).parents[1] / "golden"
HEIGHT, WIDTH = 24, 32


def flat_room() -> dict[str, torch.Tensor]:
    """One colour, one plane, everything valid."""
    return {
        "image": torch.full((1, 3, HEIGHT, WIDTH), 0.5),
        "normals_aligned": torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).repeat(1, 1, HEIGHT, WIDTH),
        "plane_distance": torch.full((1, 1, HEIGHT, WIDTH), 2.0),
        "valid": torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool),
    }


def halves(labels: torch.Tensor) -> bool:
    """Whether the left and the right half are one segment each."""
    left, right = labels[0, :, : WIDTH // 2], labels[0, :, WIDTH // 2 :]
    return bool((left == 1).all() and (right == 2).all())


def test_one_plane_of_one_colour_is_one_segment():
    assert (segment_planes(**flat_room()) == 1).all()


@pytest.mark.parametrize("what", ["image", "normals_aligned", "plane_distance"])
def test_a_step_of_colour_normal_or_distance_separates(what):
    room = flat_room()
    new = torch.tensor([1.0, 0, 0]).view(3, 1, 1) if what == "normals_aligned" else torch.tensor(0.9)
    room[what][0, :, :, WIDTH // 2 :] = new
    assert halves(segment_planes(**room))


def test_costs_follow_their_formula():
    generator = torch.Generator().manual_seed(0)
    room = flat_room()
    room["image"] = torch.rand(2, 3, 12, 14, generator=generator)
    normals = torch.nn.functional.normalize(torch.randn(2, 3, 12, 14, generator=generator), dim=1)
    room["normals_aligned"] = normals
    room["plane_distance"] = torch.rand(2, 12, 14, generator=generator)
    room["valid"] = torch.rand(2, 1, 12, 14, generator=generator) > 0.1
    ours = segment_planes(**room, scale=100.0, min_size=4)

    def stretch(values: dict) -> dict:
        low, high = min(values.values()), max(values.values())
        return {edge: (value - low) / (high - low) for edge, value in values.items()}

    for b in range(2):
        image, normal, distance, valid = (
            room[key][b].numpy().astype(np.float64) for key in ("image", "normals_aligned", "plane_distance", "valid")
        )
        costs = []
        for dy, dx in ((1, 0), (0, 1)):
            edges = [
                (y, x) for y in range(12 - dy) for x in range(14 - dx) if valid[0, y, x] and valid[0, y + dy, x + dx]
            ]
            colour = {(y, x): np.linalg.norm(image[:, y, x] - image[:, y + dy, x + dx]) for y, x in edges}
            turn = {(y, x): np.linalg.norm(normal[:, y, x] - normal[:, y + dy, x + dx]) for y, x in edges}
            jump = {(y, x): abs(distance[y, x] - distance[y + dy, x + dx]) for y, x in edges}
            colour, turn, jump = stretch(colour), stretch(turn), stretch(jump)
            both = stretch({e: turn[e] + jump[e] for e in edges})
            total = stretch({e: max(colour[e], both[e]) for e in edges})
            cost = np.full((1, 12 - dy, 14 - dx), np.nan, dtype=np.float32)
            for (y, x), value in total.items():
                cost[0, y, x] = value
            costs.append(cost)
        expected = segment_grid(*costs, valid=valid > 0, scale=100.0, min_size=4)
        np.testing.assert_array_equal(ours[b].numpy(), expected[0])
    assert ours.max() > 3


def test_invalid_and_nan_pixels_have_no_segment_and_touch_no_other():
    room = flat_room()
    room["image"][0, :, :, WIDTH // 2 :] = 0.9
    expected = segment_planes(**room)
    assert halves(expected)
    room["valid"][0, 0, 5, 6] = False
    for key, pixel in (("image", (9, 3)), ("normals_aligned", (10, 20)), ("plane_distance", (15, 8))):
        room[key][0, 0, pixel[0], pixel[1]] = float("nan")
    room["plane_distance"][0, 0, 5, 6] = 1e6
    labels = segment_planes(**room)
    holes = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    holes[[5, 9, 10, 15], [6, 3, 20, 8]] = True
    assert (labels[0][holes] == 0).all()
    assert torch.equal(labels[0][~holes], expected[0][~holes])


def test_an_image_without_valid_pixels_has_no_segments():
    room = flat_room()
    room["valid"][:] = False
    assert not segment_planes(**room).any()


def test_mask_is_of_large_segments_inside_the_border():
    segments = torch.ones(2, 12, 12, dtype=torch.int64)
    segments[0, :5, :4] = 2  # 20 pixels
    segments[0, 6:9, 6:9] = 0
    segments[1, 0, :] = 7  # 12 pixels, all of them in the border
    mask = planar_mask(segments, min_area=20, border=1)
    expected = torch.zeros(2, 12, 12, dtype=torch.bool)
    expected[:, 1:11, 1:11] = True
    expected[0, 1:5, 1:4] = False  # exactly min_area is not more
    expected[0, 6:9, 6:9] = False
    assert torch.equal(mask[:, 0], expected)
    assert planar_mask(segments, min_area=19, border=1)[0, 0, 1:5, 1:4].all()
    assert not planar_mask(segments, min_area=0, border=6).any()


def test_loss_equals_the_released_gam_depth():
    with np.load(GOLDEN / "gam_planar_depth.npz") as golden:
        segments = torch.from_numpy(golden["segment"]).long()
        depth, planar = torch.from_numpy(golden["depth"]), torch.from_numpy(golden["planar_depth"])
        assert torch.equal(planar_mask(segments), torch.from_numpy(golden["planar_mask"]) > 0)
        loss = planar_loss(depth, planar_depth_m=planar, segments=segments)
        assert loss.item() == pytest.approx(golden["loss"].item(), rel=1e-5)


def test_loss_is_a_mean_over_all_pixels():
    depth, planar = torch.full((1, 1, 10, 10), 3.0), torch.full((1, 1, 10, 10), 2.5)
    segments = torch.zeros(1, 10, 10, dtype=torch.int64)
    segments[0, 4:6] = 1
    loss = planar_loss(depth, planar_depth_m=planar, segments=segments, min_area=5, border=2)
    assert loss.item() == pytest.approx(0.5 * 12 / 100)


def test_nothing_that_is_not_finite_passes_and_both_depths_get_gradients():
    depth = torch.rand(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1
    planar = depth.flip(-1).clone()
    segments = torch.ones(1, 8, 8, dtype=torch.int64)
    depth[0, 0, 3, 3], planar[0, 0, 4, 5] = float("nan"), float("inf")
    depth.requires_grad_(True), planar.requires_grad_(True)
    loss = planar_loss(depth, planar_depth_m=planar, segments=segments, min_area=1, border=1)
    loss.backward()
    sign = (depth - planar).sign().nan_to_num(0).detach()
    sign[0, 0, [3, 4], [3, 5]] = 0
    sign[..., [0, -1]] = 0
    sign[..., [0, -1], :] = 0
    torch.testing.assert_close(depth.grad, sign / 64)
    torch.testing.assert_close(planar.grad, -sign / 64)
    expected = ((depth - planar).abs().detach() * sign.abs()).nan_to_num(0, 0, 0).sum() / 64
    assert loss.item() == pytest.approx(expected.item())


def test_bad_input_is_named():
    room = flat_room()
    with pytest.raises(ValueError, match="have the shapes"):
        segment_planes(**{**room, "valid": room["valid"].float()})
    with pytest.raises(ValueError, match=r"segments is torch\.float32"):
        planar_mask(torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="border -1"):
        planar_mask(torch.zeros(1, 4, 4, dtype=torch.int64), border=-1)
    with pytest.raises(ValueError, match="depth, planar depth and segments"):
        planar_loss(
            torch.ones(1, 4, 4), planar_depth_m=torch.ones(1, 1, 4, 4), segments=torch.ones(1, 4, 4, dtype=torch.int64)
        )
