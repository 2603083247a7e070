"""Single values of a COCO-format JSON. A number is a JSON number: text, true and false, and lists are none.

ids             whole numbers from 0 to 2^63 - 1 (``3.0`` is 3); text such as '3' is refused, as it need not be the
                same as 3 elsewhere in the file; larger ids do not fit the int64 of a batch
sizes           whole numbers from 1 (``480.0`` is 480, 480.5 is refused)
iscrowd         0, 1, ``false``, ``true``; missing or ``null`` is 0; anything else is refused: the text '0' would
                otherwise count as true
box, area       numbers; text is refused. NaN and infinity are no fault of the format and told by their users
"""

import math
from typing import Any

MAX_ID = 2**63 - 1
"""Largest id that a batch can carry."""


def whole_number(value: Any) -> int | None:
    """The number if it is a JSON number without a fraction, else None.

    >>> whole_number(480.0), whole_number(480.5), whole_number("480"), whole_number(True)
    (480, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value)


def identifier(value: Any) -> int | None:
    """The number if it can be an id: whole, from 0 to 2^63 - 1; else None."""
    number = whole_number(value)
    return number if number is not None and 0 <= number <= MAX_ID else None


def real_number(value: Any) -> float | None:
    """The number if it is a JSON number, which may be NaN or infinite; None if it is none, or too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def crowd_flag(value: Any) -> bool | None:
    """The meaning of ``iscrowd``, or None if it has none.

    >>> crowd_flag(None), crowd_flag(0), crowd_flag(1.0), crowd_flag(True), crowd_flag("0"), crowd_flag(2)
    (False, False, True, True, None, None)
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    number = whole_number(value)
    return bool(number) if number in (0, 1) else None
