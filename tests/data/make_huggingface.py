"""Tiny Hugging Face models with random weights, saved to folders as downloaded ones are; needs transformers."""

from pathlib import Path

import torch


def make_segformer(folder: Path, *, n_labels: int = 5, side: int = 64, headless: bool = False) -> None:
    """A SegFormer of four one-block stages; ``headless`` leaves its segmentation head out."""
    import transformers

    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        hidden_sizes=[8] * 4,
        depths=[1] * 4,
        num_attention_heads=[1] * 4,
        sr_ratios=[1] * 4,
        decoder_hidden_size=8,
        id2label={index: f"label {index}" for index in range(n_labels)},
    )
    model = transformers.SegformerModel if headless else transformers.SegformerForSemanticSegmentation
    model(config).save_pretrained(folder)
    transformers.SegformerImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)


def make_depth_anything(folder: Path, *, estimation: str = "relative") -> None:
    """A Depth Anything on a two-block DINOv2; ``estimation`` is ``relative`` (inverse depth) or ``metric``."""
    import transformers

    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=28,
        patch_size=14,
        out_indices=[1, 2],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8],
        reassemble_factors=[4, 2],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type=estimation,
        max_depth=10,
    )
    model = transformers.DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        model.head.conv3.bias.fill_(0.5)  # away from the ReLU's zero
    model.save_pretrained(folder)
    transformers.DPTImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)
