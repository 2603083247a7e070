"""Variants of an ablation file: arguments that build on another variant's, and experiments of their own."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.ablation.file import read_ablation
from tools.ablation.runs import runs_of
from tools.ablation.variants import Variant, read_variants
from tools.prepare_inputs import trainings

PATH = Path("study.yaml")
VARIANTS: dict[str, Any] = {
    "both": {"like": "one", "args": ["--b", 2], "note": "two  words"},
    "one": {"like": "other", "args": ["--a"]},
    "other": {"experiment": "lite_unet", "args": ["--c=1"]},
    "own": {"like": "other", "experiment": "mean_depth"},
    "full": None,
}


def test_a_variant_has_the_arguments_of_the_variant_that_it_is_like_before_its_own() -> None:
    assert read_variants({"variants": VARIANTS}, PATH) == {
        "both": Variant(("--c=1", "--a", "--b", "2"), "two words", "lite_unet"),
        "one": Variant(("--c=1", "--a"), "", "lite_unet"),
        "other": Variant(("--c=1",), "", "lite_unet"),
        "own": Variant(("--c=1",), "", "mean_depth"),
        "full": Variant(),
    }


@pytest.mark.parametrize(
    ("variants", "sentence"),
    [
        ({"full": {"like": "ful"}}, r"study.yaml: variant 'full' is like 'ful', which is no variant; did you mean"),
        ({"full": {"like": "x"}}, r"variant 'full' is like 'x', which is no variant; there are full\.$"),
        ({"full": {"like": "full"}}, r"variant 'full' is like itself: full -> full\.$"),
        ({"a": {"like": "b"}, "b": {"like": "a"}}, r"variant 'b' is like itself: a -> b -> a\.$"),
        ({"a": {"liek": "b"}}, r"variant 'a' has the unknown key 'liek'; did you mean 'like'"),
    ],
)
def test_a_variant_that_is_like_none_is_named(variants: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_variants({"variants": variants}, PATH)


def write(folder: Path) -> Path:
    (folder / "ablations").mkdir()
    base = {"experiment": "boxinst", "seeds": [0], "metrics": ["mask_ap"], "common": ["--x"]}
    (folder / "ablations" / "base.yaml").write_text(yaml.safe_dump(base))
    study = {"extends": "base.yaml", "baseline": "full", "common+": ["--y"], "variants": VARIANTS}
    path = folder / "ablations" / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def test_an_experiment_of_a_variant_is_trained_in_the_folder_of_the_ablation(tmp_path: Path) -> None:
    made = {run.variant: run for run in runs_of(read_ablation(write(tmp_path)), Path("runs"))}
    assert {name: Path(run.command[2]).stem for name, run in made.items()} == {
        **{"both": "lite_unet", "one": "lite_unet", "other": "lite_unet", "own": "mean_depth", "full": "boxinst"}
    }
    assert {str(run.folder.parent) for run in made.values()} == {"runs/boxinst"}
    assert made["one"].command[3:6] == ("--x", "--y", "--c=1")
    assert made["one"].settings == ("--config", "lite_unet.yaml", "--x", "--y", "--c=1", "--a")
    assert made["full"].settings == ("--x", "--y")  # so that another experiment of a variant is another training


def test_a_missing_experiment_of_a_variant_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace("experiment: lite_unet", "experiment: lite_unett"))
    with pytest.raises(ValueError, match=r"no experiment 'lite_unett' in .*; did you mean 'lite_unet'\?"):
        read_ablation(path)


def test_inputs_are_those_of_the_experiment_of_each_variant(tmp_path: Path) -> None:
    found = dict(zip(VARIANTS, trainings(write(tmp_path)), strict=True))
    assert found["both"] == (tmp_path / "lite_unet.yaml", ["--x", "--y", "--c=1", "--a", "--b", "2"])
    assert found["full"] == (tmp_path / "boxinst.yaml", ["--x", "--y"])
