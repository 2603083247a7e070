"""What the fixtures of all tests promise."""

import signal

from tests.conftest import HANDLED_SIGNALS


def test_a_handler_that_a_test_leaves():
    for number in HANDLED_SIGNALS:
        signal.signal(number, left_behind)


def test_is_gone_in_the_next_one():
    assert all(signal.getsignal(number) is not left_behind for number in HANDLED_SIGNALS)


def left_behind(*_):
    pass
