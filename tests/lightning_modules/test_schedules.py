import io

import pytest
import torch

from lightning_modules.schedules import WarmupMultiStep


def make(**changes):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    return WarmupMultiStep(optimizer, **({"milestones": [6, 8], "warmup_steps": 4} | changes))


def test_the_rate_rises_in_a_line_and_falls_at_the_milestones():
    scheduler = make()
    rates = []
    for _ in range(10):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    warm = [0.01 * (0.001 + 0.999 * step / 4) for step in range(4)]
    assert rates == pytest.approx([*warm, 0.01, 0.01, 0.001, 0.001, 1e-4, 1e-4])


def test_the_papers_schedule_is_the_default():
    scheduler = WarmupMultiStep(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0))
    factors = [scheduler.factor(step) for step in (0, 1000, 59_999, 60_000, 80_000)]
    assert factors == pytest.approx([1e-3, 1, 1, 0.1, 0.01])


def test_its_state_is_plain_and_goes_on():
    scheduler = make()
    for _ in range(5):
        scheduler.optimizer.step()
        scheduler.step()
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    other = make()
    other.load_state_dict(torch.load(file, weights_only=True))
    other.optimizer.step()
    other.step()
    assert other.get_last_lr() == pytest.approx([0.001])


@pytest.mark.parametrize("changes", [{"milestones": [8, 6]}, {"gamma": 0.0}, {"warmup_steps": -1}])
def test_wrong_settings_are_refused(changes):
    with pytest.raises(ValueError, match=r"must grow|must be positive"):
        make(**changes)
