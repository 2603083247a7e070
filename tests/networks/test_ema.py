"""EMA teacher: ramp, parameters against a closed form, buffers, checkpoint round trip, errors."""

import copy

import pytest
import torch
from torch import nn

from networks.ema import EMATeacher, ema_momentum


def make_student(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, kernel_size=1), nn.BatchNorm2d(4))


def disturb(student, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in (*student.parameters(), student[1].running_mean):
            value.add_(torch.randn(value.shape, generator=generator))
        student[1].num_batches_tracked += 1


def test_momentum_ramps_up_to_its_final_value():
    assert [ema_momentum(step, momentum=0.999) for step in (0, 1, 3, 999)] == [0, 0.5, 0.75, 0.999]
    assert ema_momentum(10**6, momentum=0.999) == 0.999
    assert ema_momentum(10**6, momentum=0.5) == 0.5


def test_during_the_ramp_the_teacher_is_the_mean_of_all_students_and_then_the_moving_average():
    student = make_student()
    teacher = EMATeacher(make_student(1), momentum=0.75)
    weights, expected = [], torch.zeros(())
    for step in range(6):
        disturb(student, step)
        weights.append(student[0].weight.detach().clone())
        teacher.update(student, step)
        # The share of the old weights reaches 0.75 at the fourth update.
        expected = torch.stack(weights).mean(dim=0) if step < 4 else 0.75 * expected + 0.25 * weights[-1]
        torch.testing.assert_close(teacher.model[0].weight, expected)


def test_first_update_is_an_exact_copy():
    student, teacher = make_student(), EMATeacher(make_student(1))
    teacher.update(student, 0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(teacher.model.state_dict().values(), student.state_dict().values(), strict=True)
    )


def test_buffers_are_copied_and_the_student_is_left_alone():
    student = make_student()
    teacher = EMATeacher(student)
    disturb(student, 0)
    before = copy.deepcopy(student.state_dict())
    teacher.update(student, 5000)
    assert torch.equal(teacher.model[1].running_mean, student[1].running_mean)
    assert teacher.model[1].num_batches_tracked == 1
    assert not torch.equal(teacher.model[0].weight, student[0].weight)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(p.requires_grad for p in student.parameters())


def test_teacher_is_never_trained():
    teacher = EMATeacher(make_student())
    around = nn.ModuleList([teacher]).train()
    assert not any(module.training for module in around[0].modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    image = torch.rand(1, 3, 4, 4, requires_grad=True)
    assert not teacher(image).requires_grad
    torch.testing.assert_close(teacher(image), teacher.model(image))


def test_a_restored_or_copied_teacher_goes_on_as_the_old_one(tmp_path):
    student, teacher = make_student(), EMATeacher(make_student(1))
    for step in range(3):
        disturb(student, step)
        teacher.update(student, step)
    torch.save(teacher.state_dict(), tmp_path / "teacher.pt")
    restored = EMATeacher(make_student(2))
    restored.load_state_dict(torch.load(tmp_path / "teacher.pt", weights_only=True))
    copied = copy.deepcopy(teacher)
    disturb(student, 3)
    for each in (teacher, restored, copied):
        each.update(student, 3)
    for other in (restored, copied):
        assert all(
            torch.equal(a, b) for a, b in zip(teacher.state_dict().values(), other.state_dict().values(), strict=True)
        )
    assert not any(p.requires_grad for p in copied.parameters())


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"momentum is 1.0, but"):
        EMATeacher(make_student(), momentum=1.0)
    with pytest.raises(ValueError, match="step is -1"):
        EMATeacher(make_student()).update(make_student(), -1)
    with pytest.raises(ValueError, match=r"built differently .* has '1.bias'"):
        EMATeacher(make_student()).update(make_student()[:1], 0)
