"""CondInst as a whole: parameter counts, sizes, what is connected, targets, detections, errors."""

import copy

import pytest
import torch

from geometry.resampling import aligned_bilinear
from losses.fcos_targets import assign, select_for_masks
from networks.condinst import CondInst
from networks.ema import EMATeacher

SMALL = {
    "encoder": "tf_efficientnet_lite0",
    "encoder_weights": "bundled",
    "strides": (8, 16, 32),
    "sizes_of_interest": (24.0, 48.0, 96.0),
    "channels": 16,
    "head_convs": 2,
    "norm_groups": 4,
    "mask_channels": 4,
    "mask_branch_channels": 8,
    "mask_branch_convs": 2,
}


def make_network(**options):
    torch.manual_seed(0)
    return CondInst(5, **SMALL | options)


def make_image(batch=2, height=96, width=128):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_are_the_papers_and_the_documented_ones():
    with torch.device("meta"):
        plain, guided = (CondInst(80, encoder_weights=None, depth_guided=depth) for depth in (False, True))
    assert round(count(plain) / 1e6, 2) == 34.26
    assert f"{count(plain):,}" in CondInst.__doc__
    assert f"{count(guided) - count(plain):,} more" in CondInst.__doc__
    assert count(guided) - count(plain) == 9 * (256 * 9 + 1)


def test_first_stages_are_frozen_and_the_rest_is_trained():
    network = make_network()
    outputs = network(make_image())
    masks = network.masks(outputs, image=torch.tensor([0, 1]), location=torch.tensor([0, 200]))
    total = sum(x.square().sum() for x in outputs.head) + masks.logits.square().sum()
    total.backward()
    for name, parameter in network.named_parameters():
        early = name.startswith("backbone.") and any(
            part in name for part in ("conv_stem", "body.bn1", "blocks.0.", "blocks.1.")
        )
        assert parameter.requires_grad is not early, name
        assert (parameter.grad is None) is early, name


@pytest.mark.parametrize(
    ("strides", "sizes", "levels", "mask"),
    [
        ((8, 16, 32), (24, 48, 96), ((12, 16), (6, 8), (3, 4)), (24, 32)),
        ((4, 8, 16, 32), (12, 24, 48, 96), ((24, 32), (12, 16), (6, 8), (3, 4)), (48, 64)),
        ((8, 16, 32, 64, 128), (64, 128, 256, 512, 1024), ((12, 16), (6, 8), (3, 4), (2, 2), (1, 1)), (24, 32)),
    ],
)
def test_levels_and_sizes_follow_the_strides(strides, sizes, levels, mask):
    network = make_network(strides=strides, sizes_of_interest=sizes).eval()
    with torch.no_grad():
        outputs = network(make_image())
        logits = network.masks(outputs, image=torch.tensor([1]), location=torch.tensor([3])).logits
    assert outputs.level_lengths == tuple(h * w for h, w in levels)
    total = sum(outputs.level_lengths)
    assert outputs.head.logits.shape == (2, total, 5)
    assert outputs.locations.shape == outputs.size_ranges.shape == (total, 2)
    assert logits.shape == (1, 1, *mask)
    start, last = 0, len(strides) - 1
    for level, (stride, size, length) in enumerate(zip(strides, sizes, outputs.level_lengths, strict=True)):
        here = slice(start, start + length)
        assert (outputs.strides[here] == stride).all()
        assert (outputs.sizes[here] == size).all()
        assert (outputs.size_ranges[here, 0] == (-1 if level == 0 else sizes[level - 1])).all()
        assert (outputs.size_ranges[here, 1] == (float("inf") if level == last else size)).all()
        width = levels[level][1]
        assert outputs.locations[start].tolist() == [stride // 2, stride // 2]
        assert outputs.locations[start + length - 1].tolist() == [
            stride // 2 + stride * (width - 1),
            stride // 2 + stride * (levels[level][0] - 1),
        ]
        start += length


def test_masks_are_made_of_the_parameters_of_their_location():
    network = make_network().eval()
    with torch.no_grad():
        outputs = network(make_image())
        image, location = torch.tensor([1, 0, 1]), torch.tensor([200, 17, 251])
        masks = network.masks(outputs, image=image, location=location)
        expected = network.mask_head(
            outputs.mask_features,
            parameters=torch.stack(
                [outputs.head.parameters[1, 200], outputs.head.parameters[0, 17], outputs.head.parameters[1, 251]]
            ),
            image_index=image,
            locations=torch.tensor(
                [[8.0 + 16 * (8 % 8), 8.0 + 16 * 1], [4.0 + 8 * 1, 4.0 + 8 * 1], [16.0 + 32 * 3, 16.0 + 32 * 2]]
            ),
            sizes=torch.tensor([48.0, 24.0, 96.0]),
        )
    assert torch.equal(masks.logits, expected.logits)
    assert masks.depth is None


@pytest.mark.parametrize("first_depth", [0.7, 0.4])
def test_depth_starts_at_the_given_nearness(first_depth):
    network = make_network(depth_guided=True, first_depth=first_depth).eval()
    with torch.no_grad():
        outputs = network(make_image())
        depth = network.masks(outputs, image=torch.zeros(252).long(), location=torch.arange(252)).depth
    assert depth.mean().item() == pytest.approx(first_depth, abs=0.05)
    assert (depth > 0).all()
    assert (depth < 1).all()


def test_a_depth_guided_network_goes_on_from_the_weights_of_one_without():
    plain, guided = (make_network(depth_guided=depth).eval() for depth in (False, True))
    missing, unexpected = guided.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert {name.rsplit(".", 1)[0] for name in missing} == {"head.depth_controller"}
    torch.nn.init.constant_(guided.head.depth_controller.weight, 0.0)
    torch.nn.init.constant_(guided.head.depth_controller.bias, 0.0)  # half near everywhere, whatever the features
    where = {"image": torch.zeros(5).long(), "location": torch.arange(5)}
    with torch.no_grad():
        expected, found = (network.masks(network(make_image()), **where).logits for network in (plain, guided))
    torch.testing.assert_close(found, expected / 2)


def test_boxes_of_the_training_targets_decode_to_the_true_boxes():
    network = make_network().eval()
    with torch.no_grad():
        outputs = network(make_image())
    boxes = torch.tensor(
        [[[10.0, 20.0, 60.5, 70.0], [70.0, 8.0, 100.0, 40.0]], [[3.0, 4.0, 120.0, 90.0], [0, 0, 0, 0]]]
    )
    labels = torch.tensor([[2, 5], [1, 0]])
    targets = assign(
        outputs.locations, strides=outputs.strides, size_ranges=outputs.size_ranges, boxes=boxes, labels=labels
    )
    assert {(b, n) for b in range(2) for n in targets.instance[b].tolist() if n >= 0} == {(0, 0), (0, 1), (1, 0)}
    perfect = outputs._replace(
        head=outputs.head._replace(
            logits=20 * torch.nn.functional.one_hot(targets.labels, 6)[..., 1:].float() - 10,
            ltrb=targets.ltrb,
            quality=torch.full_like(outputs.head.quality, 10.0),
        )
    )
    found = network.candidates(perfect)
    for one, box, label in zip(found, (boxes[0], boxes[1, :1]), (labels[0], labels[1, :1]), strict=True):
        order = one.labels.argsort()
        assert torch.equal(one.labels[order], label)
        torch.testing.assert_close(one.boxes[order], box)
    chosen = select_for_masks(targets.instance, network.probabilities(perfect).amax(dim=-1))
    assert network.masks(perfect, image=chosen.image, location=chosen.location).logits.shape[0] == len(chosen.image) > 3


def test_probability_is_that_of_class_times_quality():
    network = make_network().eval()
    with torch.no_grad():
        outputs = network(make_image())
        ours = network.probabilities(outputs)
    logits, quality = outputs.head.logits, outputs.head.quality
    torch.testing.assert_close(ours, 1 / (1 + torch.exp(-logits)) / (1 + torch.exp(-quality[..., None])))


def test_detections_have_the_original_size_and_are_cut_to_the_image():
    network = make_network().eval()
    with torch.no_grad():
        outputs = network(make_image())
    # Two images that fill 96x120 and 60x128 of the input of 96x128.
    original = torch.tensor([[192, 240], [90, 192]])
    scale = torch.tensor([[0.5, 0.5], [2 / 3, 2 / 3]])
    outputs = outputs._replace(head=outputs.head._replace(ltrb=outputs.head.ltrb + 1.5))
    found = network.instances(outputs, scale=scale, original_size=original, score_threshold=0.0, max_detections=200)
    plain = network.candidates(outputs, score_threshold=0.0, max_detections=200)
    for i, (one, candidates, (height, width)) in enumerate(zip(found, plain, original.tolist(), strict=True)):
        limit = torch.tensor([width, height, width, height])
        expected = (candidates.boxes / scale[i, 0]).clamp(min=0).minimum(limit)
        kept = (expected[:, 2:] > expected[:, :2]).all(dim=1)
        assert kept.any()
        torch.testing.assert_close(one["boxes"], expected[kept])
        assert torch.equal(one["scores"], candidates.scores[kept])
        assert torch.equal(one["labels"], candidates.labels[kept])
        assert one["masks"].shape == (kept.sum(), height, width)
        assert (one["scores"].diff() <= 0).all()
    assert len(found[1]["boxes"]) < len(plain[1].boxes)  # some lay in the padding alone


def test_masks_are_cut_to_the_pixels_of_their_boxes():
    network = make_network().eval()
    outputs = network(make_image())
    options = {"score_threshold": 0.0, "max_detections": 30}
    n_cut = 0
    for whole, cut in zip(
        network.instances(outputs, **options), network.instances(outputs, cut=True, **options), strict=True
    ):
        assert torch.equal(whole["boxes"], cut["boxes"])
        for mask, expected, (x1, y1, x2, y2) in zip(cut["masks"], whole["masks"], cut["boxes"].tolist(), strict=True):
            inside = torch.zeros_like(mask)
            inside[int(y1) : int(y2 + 1), int(x1) : int(x2 + 1)] = True
            assert torch.equal(mask, expected & inside)
            n_cut += int((expected & ~inside).any())
    assert n_cut > 0


def test_masks_of_detections_without_resizing_are_the_enlarged_probabilities():
    network = make_network().eval()
    with torch.no_grad():
        outputs = network(make_image())
        found = network.instances(outputs, score_threshold=0.0, max_detections=20)
        candidates = network.candidates(outputs, score_threshold=0.0, max_detections=20)
        for i in range(2):
            inside = (candidates[i].boxes[:, 2:] > candidates[i].boxes[:, :2]).all(dim=1)
            location = candidates[i].location[inside]
            logits = network.masks(outputs, image=torch.full_like(location, i), location=location).logits
            expected = aligned_bilinear(logits.sigmoid(), 4)[:, 0] > 0.5
            assert found[i]["masks"].shape[1:] == (96, 128)
            assert torch.equal(found[i]["masks"], expected)


def test_no_detection_is_empty_and_typed():
    network = make_network().eval()
    with torch.no_grad():
        found = network.instances(network(make_image()), score_threshold=1.0)
    for one in found:
        assert one["boxes"].shape == (0, 4)
        assert one["masks"].shape == (0, 96, 128)
        assert one["masks"].dtype == torch.bool
        assert one["labels"].dtype == torch.int64
        assert one["scores"].shape == (0,)


def test_an_image_does_not_depend_on_its_batch_in_eval_mode():
    network = make_network().eval()
    image = make_image(3)
    with torch.no_grad():
        together, alone = network(image), network(image[1:2])
    for a, b in zip(together.head, alone.head, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-3, atol=1e-4)


def test_teacher_of_the_network_follows_and_survives_a_copy():
    network = make_network(depth_guided=True)
    teacher = EMATeacher(network)
    network(make_image()).mask_features.square().sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    teacher.update(network, 0)
    network.eval()
    with torch.no_grad():
        for module in (teacher, copy.deepcopy(teacher)):
            assert torch.equal(module(make_image()).head.logits, network(make_image()).head.logits)


def test_a_state_dict_fits_a_network_of_other_sizes_of_interest():
    network = make_network()
    other = make_network(sizes_of_interest=(30.0, 60.0, 120.0))
    other.load_state_dict(network.state_dict())
    assert other.level_sizes.tolist() == [30, 60, 120]


def test_runs_in_half_precision():
    network = make_network(depth_guided=True).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(make_image())
        masks = network.masks(outputs, image=torch.tensor([0]), location=torch.tensor([7]))
        found = network.instances(outputs, score_threshold=0.0, max_detections=3)
    assert masks.logits.dtype == masks.depth.dtype == outputs.head.ltrb.dtype == torch.float32
    assert found[0]["boxes"].dtype == found[0]["scores"].dtype == torch.float32


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"strides are \(8, 32\), but each must double"):
        make_network(strides=(8, 32))
    with pytest.raises(ValueError, match=r"strides are \(64,\), but each must double the one before, from 2, 4"):
        make_network(strides=(64,))
    for sizes in ((24, 48), (24, 48, 48), (0, 24, 48)):
        with pytest.raises(ValueError, match="one positive size for each of 3 levels, growing"):
            make_network(sizes_of_interest=sizes)
    with pytest.raises(ValueError, match="first_depth must lie between 0 and 1, got 1"):
        make_network(first_depth=1)
    network = make_network().eval()
    with pytest.raises(ValueError, match="multiples of 32, got 90x128"):
        network(make_image(height=90))
    with torch.no_grad():
        outputs = network(make_image())
    with pytest.raises(ValueError, match="belong together"):
        network.instances(outputs, scale=torch.ones(2, 2))
    with pytest.raises(ValueError, match="image of 96x130 is 96x130 after resizing, but"):
        network.instances(outputs, scale=torch.ones(2, 2), original_size=torch.tensor([[96, 130], [96, 128]]))
