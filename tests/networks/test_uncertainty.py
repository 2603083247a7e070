"""Learned weights: their start, their optimum in closed form, and terms that do not apply."""

import math

import pytest
import torch

from networks.uncertainty import UncertaintyWeights


def test_terms_start_with_weight_one():
    weights = UncertaintyWeights(["ssi", "image"])
    terms = {"image": torch.tensor(0.3), "ssi": torch.tensor(2.0)}
    assert weights(terms) == terms
    assert weights.weights() == {"ssi": 1, "image": 1}


def test_the_weights_go_to_the_inverse_of_each_term():
    weights = UncertaintyWeights(["ssi", "image"]).double()
    values = {"ssi": 2.0, "image": 0.05}
    with torch.no_grad():
        weights.log_variance.copy_(torch.tensor([math.log(v) for v in values.values()]))
    terms = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}
    total = sum(weights(terms).values())
    assert total.item() == pytest.approx(sum(1 + math.log(v) for v in values.values()))
    total.backward()
    torch.testing.assert_close(weights.log_variance.grad, torch.zeros(2, dtype=torch.float64))
    for name, value in values.items():
        assert weights.weights()[name].item() == pytest.approx(1 / value)
        assert terms[name].grad.item() == pytest.approx(1 / value)


def test_descent_finds_the_optimum():
    weights = UncertaintyWeights(["ssi"])
    optimizer = torch.optim.SGD(weights.parameters(), lr=0.5)
    for _ in range(50):
        optimizer.zero_grad()
        weights({"ssi": torch.tensor(0.2)})["ssi"].backward()
        optimizer.step()
    assert weights.log_variance.item() == pytest.approx(math.log(0.2), abs=1e-4)


def test_gradcheck():
    weights = UncertaintyWeights(["a", "b"]).double()

    def total(s, a, b):
        terms = {"a": a, "b": b}
        return sum(torch.func.functional_call(weights, {"log_variance": s}, (terms,)).values())

    inputs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([0.3, -1.2], 0.7, 2.0)]
    assert torch.autograd.gradcheck(total, inputs)


def test_a_term_without_samples_leaves_its_weight_alone():
    weights = UncertaintyWeights(["ssi", "ranking"])
    nothing = torch.zeros((), requires_grad=True)
    weighted = weights({"ssi": torch.tensor(2.0), "ranking": nothing * 1})
    sum(weighted.values()).backward()
    assert weighted["ranking"] == 0
    assert weights.log_variance.grad.tolist() == [-1, 0]
    assert nothing.grad == 1


def test_missing_terms_are_allowed_and_unknown_ones_refused():
    weights = UncertaintyWeights(["ssi", "image"])
    assert list(weights({"ssi": torch.tensor(1.0)})) == ["ssi"]
    with pytest.raises(ValueError, match="Loss term depth has no weight; there are ssi, image"):
        weights({"depth": torch.tensor(1.0)})


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_names_must_be_there_once(names):
    with pytest.raises(ValueError, match="at least one is needed and none may occur twice"):
        UncertaintyWeights(names)


def test_half_precision_terms_are_weighed_in_float32():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weighted = UncertaintyWeights(["a"])({"a": torch.tensor(0.3).bfloat16()})
    assert weighted["a"].dtype is torch.float32
