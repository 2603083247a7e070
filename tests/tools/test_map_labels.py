"""Pseudo depth from a folder of depth maps and from TorchScript files, on a tiny COCO."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from datamodules.coco.datamodule import CocoDataModule
from structures.label_store import LabelStore
from tests.data.make_coco import make_coco
from tests.networks.test_torchscript import Red, save
from tools.pseudo_labels import main

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")


@pytest.fixture
def root(tmp_path):
    return make_coco(tmp_path / "coco")


@pytest.fixture
def call(root, tmp_path):
    """Arguments of a call with the data set's own YAML."""

    def make(teacher, *more, out="depth.h5"):
        data = ["--data", ROOT / "experiments/data/coco_instances.yaml", "--data.init_args.root", root]
        data += ["--data.init_args.image_size", "[32, 40]", "--data.init_args.num_workers", "0"]
        words = [*data, "--teacher", teacher, "--kind", "depth", "--out", tmp_path / out, "--accelerator", "cpu", *more]
        return [str(word) for word in words]

    return make


def images_of(root):
    content = json.loads((root / "annotations/instances_train2017.json").read_text())
    return {Path(image["file_name"]).stem: (image["height"], image["width"]) for image in content["images"]}


def write_maps(folder, root, *, shape=None, scale=1):
    """Write a ramp of millimetres for each image, at its own size or another; returns the maps by name."""
    folder.mkdir()
    written = {}
    for number, (name, size) in enumerate(images_of(root).items(), start=1):
        height, width = shape or (size[0] // scale, size[1] // scale)
        written[name] = (1000 * number + np.arange(height * width).reshape(height, width)).astype(np.uint16)
        cv2.imwrite(str(folder / f"{name}.png"), written[name])
    return written


def test_maps_of_one_size_are_stored_unchanged(root, call, tmp_path, capsys):
    written = write_maps(tmp_path / "maps", root, shape=(24, 32))
    assert main(call(tmp_path / "maps", "--unit", "1000")) == 0
    store = LabelStore(tmp_path / "depth.h5", kind="depth")
    assert store.names == list(written)
    assert store.shape == (24, 32)
    for name, millimetres in written.items():
        np.testing.assert_allclose(store.read(name), millimetres / 1000, rtol=1e-6)
    assert (store.settings["relative"], store.settings["unit"], store.settings["inverse"]) == (False, 1000.0, False)
    said = capsys.readouterr().out
    assert "6 maps of 6 images, 0 other files left out: '000000000001' <- '000000000001.png'" in said
    assert "no ground truth to compare with" in said
    assert "nan" not in said.replace(str(tmp_path), "")
    data = CocoDataModule(
        root=str(root), pseudo_depth="file", pseudo_depth_file=str(tmp_path / "depth.h5"), batch_size=2
    )
    data.setup("fit")
    depth = data.train_dataloader().dataset[0]["pseudo_depth"]
    assert (depth.min(), depth.max()) == (0, 1)


def test_maps_of_half_the_images_sizes_span_the_images(root, call, tmp_path):
    written = write_maps(tmp_path / "maps", root, scale=2)
    assert len({array.shape for array in written.values()}) > 1
    assert main(call(tmp_path / "maps", "--unit", "1000", "--size", "48", "64")) == 0
    store = LabelStore(tmp_path / "depth.h5")
    (name,) = [name for name, size in images_of(root).items() if size == (48, 64)][:1]
    expected = cv2.resize(written[name].astype(np.float32), (64, 48), interpolation=cv2.INTER_LINEAR) / 1000
    np.testing.assert_allclose(store.read(name), expected, rtol=1e-6)
    np.testing.assert_allclose(store.read(name)[1, 1:3], expected[1, 1:3])
    rows = written[name][0:2, 0:2].astype(float)
    weights = np.outer([0.75, 0.25], [0.75, 0.25])  # the centre of pixel (1, 1) lies at (0.75, 0.75) - 0.5
    np.testing.assert_allclose(store.read(name)[1, 1], (rows * weights).sum() / 1000, rtol=1e-6)


def test_maps_of_several_sizes_are_resized_to_the_size_of_the_data(root, call, tmp_path):
    write_maps(tmp_path / "maps", root)
    assert main(call(tmp_path / "maps", "--unit", "1000")) == 0
    assert LabelStore(tmp_path / "depth.h5").shape == (32, 40)


def test_relative_inverse_depth_is_read_back_as_nearness(root, call, tmp_path):
    from datamodules.samples.pseudo_depth import nearness

    written = write_maps(tmp_path / "maps", root, shape=(24, 32))
    assert main(call(tmp_path / "maps", "--unit", "relative", "--inverse")) == 0
    store = LabelStore(tmp_path / "depth.h5")
    assert store.settings["relative"] is True
    for name, values in written.items():
        near, known = nearness(store.read(name))
        assert known.all()
        np.testing.assert_allclose(near, (values - values.min()) / np.ptp(values.astype(float)), atol=1e-5)


def test_an_interrupted_run_continues_and_other_maps_are_refused(root, call, tmp_path, capsys):
    write_maps(tmp_path / "maps", root, shape=(24, 32))
    assert main(call(tmp_path / "maps", "--unit", "1000")) == 0
    assert main(call(tmp_path / "maps", "--unit", "1000")) == 0
    assert "0 of them new" in capsys.readouterr().out
    before = (tmp_path / "depth.h5").read_bytes()
    assert main(call(tmp_path / "maps", "--unit", "1")) == 1
    assert "was made with unit=1000.0, not unit=1.0; write to another file" in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "maps" / "000000000001.png"), np.full((24, 32), 7, np.uint16))
    assert main(call(tmp_path / "maps", "--unit", "1000")) == 1
    assert "was made with teacher='maps of maps " in capsys.readouterr().err
    assert (tmp_path / "depth.h5").read_bytes() == before


def refused(capsys, words, rc=1):
    assert main(words) == rc
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith("error: ")
    assert "Errno" not in error[0]
    return error[0]


def test_wrong_calls_end_in_one_sentence(root, call, tmp_path, capsys):
    write_maps(tmp_path / "maps", root, shape=(24, 32))
    maps, out = tmp_path / "maps", tmp_path / "depth.h5"
    assert "--unit 1 (metres), --unit 1000 (millimetres)" in refused(capsys, call(maps))
    assert "--unit is 'mm', but a positive number" in refused(capsys, call(maps, "--unit", "mm"))
    assert "--unit is '-1'" in refused(capsys, [*call(maps), "--unit=-1"])
    assert "leave out --input-size" in refused(capsys, call(maps, "--unit", "1", "--input-size", "8", "8"))
    assert "--size is 0 4" in refused(capsys, call(maps, "--unit", "1", "--size", "0", "4"))
    assert "'yes' is neither true nor false" in refused(capsys, call(maps, "--unit", "1", "--inverse", "yes"), rc=2)
    kind = [word if word != "depth" else "semantic" for word in call(maps, "--unit", "1")]
    assert "can be a teacher of kind 'depth' alone" in refused(capsys, kind)
    (maps / "000000000002.png").unlink()
    assert "no depth map for 1 of 6 images, such as '000000000002'" in refused(capsys, call(maps, "--unit", "1"))
    np.save(maps / "000000000002.npy", np.ones((24, 32), complex))
    assert "complex128, but numbers are needed" in refused(capsys, call(maps, "--unit", "1"))
    assert not out.exists()
    assert not list(tmp_path.glob("*.partial"))  # a repaired map changes the fingerprint of the folder
    np.save(maps / "000000000002.npy", np.ones((24, 32)))
    taken = tmp_path / "taken"
    taken.write_text("a file")
    assert "is a file, but a folder is needed" in refused(capsys, call(maps, "--unit", "1", out="taken/x.h5"))
    assert "is a folder, but a file is to be written" in refused(capsys, call(maps, "--unit", "1", out="maps"))
    assert "no label file; name another file" in refused(capsys, call(maps, "--unit", "1", out="taken"))
    assert taken.read_text() == "a file"


def test_maps_without_depth_are_refused_or_reported(root, call, tmp_path, capsys):
    (tmp_path / "maps").mkdir()
    for name in images_of(root):
        np.save(tmp_path / "maps" / f"{name}.npy", np.full((4, 4), 2.0))
    assert "is constant or empty" in refused(capsys, call(tmp_path / "maps", "--unit", "1"))
    np.save(tmp_path / "maps" / "000000000001.npy", np.arange(16.0).reshape(4, 4))
    assert main(call(tmp_path / "maps", "--unit", "1", out="second.h5")) == 0
    said = capsys.readouterr().out
    assert "5 of 6 maps hold one value everywhere and carry no information, such as '000000000002'" in said
    assert "1 pixels in 1 of 6 maps are zero: unknown" in said


def test_rotated_maps_are_refused(root, call, tmp_path, capsys):
    (tmp_path / "maps").mkdir()
    for name, (height, width) in images_of(root).items():
        np.save(tmp_path / "maps" / f"{name}.npy", np.random.default_rng(0).random((width, height)))
    line = refused(capsys, call(tmp_path / "maps", "--unit", "1"))
    assert "depth maps are as wide as their images are high" in line


def test_a_torchscript_file_writes_pseudo_depth(root, call, tmp_path, capsys):
    network = save(tmp_path / "red.ts", Red(), (32, 40))
    assert "the unit of what" in refused(capsys, call(network))
    assert main(call(network, "--unit", "4", "--mean", "0", "0", "0", "--std", "0.5", "1", "1")) == 0
    store = LabelStore(tmp_path / "depth.h5")
    assert store.teacher.startswith("red.ts ")
    assert store.settings == {
        "image_size": [32, 40],
        "unit": 4.0,
        "mean": [0.0, 0.0, 0.0],
        "std": [0.5, 1.0, 1.0],
        "inverse": False,
        "relative": False,
    }
    (name,) = [name for name, size in images_of(root).items() if size == (48, 64)][:1]
    image = cv2.imread(str(root / "train2017" / f"{name}.png"))[..., ::-1]
    red = cv2.resize(image, (40, 32), interpolation=cv2.INTER_AREA)[..., 0] / 255
    np.testing.assert_allclose(store.read(name), 2 * red / 0.5 / 4, atol=0.02)
    assert "no ground truth to compare with" in capsys.readouterr().out
