"""Names of each paper, read from its experiment and its ablation."""

import pytest

from tools.ablation.file import EXPERIMENTS, read_ablation
from tools.dashboard import papers
from tools.dashboard.papers import MOST_METRICS, experiments_of_papers, read_paper


def test_every_paper_has_an_experiment_without_a_download():
    found = experiments_of_papers()
    assert found["supervised_depth"] == "lite_unet", "that of its ablation, as none has its name"
    assert found["gam_depth"] == "gam_depth"
    pages = {path.stem for path in (EXPERIMENTS.parent / "docs" / "papers").glob("*.md")}
    assert found.keys() == pages


def test_the_metrics_are_those_of_the_ablation():
    paper = read_paper("supervised_depth", "lite_unet")
    assert paper.metrics == read_ablation(EXPERIMENTS / "ablations" / "supervised_depth.yaml").metrics
    assert paper.terms == ("l1", "silog")
    assert paper.pictures == ("pictures",)
    assert paper.has_ablation


def test_a_paper_without_an_ablation_shows_its_first_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr(papers, "_ablation_path", lambda slug: tmp_path / "none.yaml")
    paper = read_paper("supervised_depth", "lite_unet")
    assert len(paper.metrics) == MOST_METRICS
    assert list(paper.metrics) == sorted(paper.metrics)
    assert "score" not in paper.metrics
    assert not paper.has_ablation


def test_an_experiment_that_cannot_be_built_is_one_sentence(monkeypatch):
    monkeypatch.setattr(papers, "experiment_module", lambda words: None)
    with pytest.raises(ValueError, match=r"the metrics of experiments/lite_unet\.yaml cannot be determined"):
        read_paper("supervised_depth", "lite_unet")
