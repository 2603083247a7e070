"""Means over images that do not all count, over uneven batches."""

import torch

from metrics.image_means import ImageValues, MeanOverImages


class Means(MeanOverImages):
    def update(self, numbers):
        self.add(numbers)


def values(numbers, counted):
    return ImageValues(torch.tensor(numbers, dtype=torch.float64), torch.tensor(counted))


def test_only_images_that_count_enter_and_each_name_has_its_own_count():
    metric = Means(("a", "b", "c"))
    metric.update({"a": values([1.0, float("nan"), 4.0], [True, False, True]), "b": values([2.0] * 3, [True] * 3)})
    metric.update({"a": values([10.0], [True])})
    found = {name: value.item() for name, value in metric.compute().items()}
    assert (found["a"], found["b"]) == (5.0, 2.0)
    assert list(found) == ["a", "b", "c"]
    assert found["c"] != found["c"]  # NaN: no image counted
    assert metric.compute()["a"].dtype == torch.float64


def test_a_nan_that_counts_stays_visible():
    metric = Means(("a",))
    metric.update({"a": values([1.0, float("nan")], [True, True])})
    assert metric.compute()["a"].isnan()


def test_values_of_images_that_do_not_count_are_nan():
    assert str(values([1.0, 2.0], [True, False]).or_nan().tolist()) == "[1.0, nan]"
