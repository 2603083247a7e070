"""Parsing of single values of a COCO-format JSON. Only JSON numbers are numbers; text, booleans and lists are not.

ids             integers from 0 to 2^63 - 1 (``3.0`` is 3); text such as '3' is refused, because it may not refer to
                the same record as 3; larger ids do not fit the int64 of a batch
sizes           integers from 1 (``480.0`` is 480, 480.5 is refused)
iscrowd         0, 1, ``false``, ``true``; missing or ``null`` is 0; anything else is refused: the text '0' would
                otherwise count as true
box, area       numbers; text is refused; NaN and infinity are returned and handled by the caller
"""

import math
from typing import Any

MAX_ID = 2**63 - 1
"""Largest id that fits the int64 of a batch."""


def whole_number(value: Any) -> int | None:
    """Return the integer if the value is a JSON number without a fraction, else None.

    >>> whole_number(480.0), whole_number(480.5), whole_number("480"), whole_number(True)
    (480, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value)


def identifier(value: Any) -> int | None:
    """Return the value if it is a valid id, an integer from 0 to 2^63 - 1; else None."""
    number = whole_number(value)
    return number if number is not None and 0 <= number <= MAX_ID else None


def real_number(value: Any) -> float | None:
    """Return the value if it is a JSON number, which may be NaN or infinite; None if not, or too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def crowd_flag(value: Any) -> bool | None:
    """Return the boolean value of ``iscrowd``, or None if it is invalid.

    >>> crowd_flag(None), crowd_flag(0), crowd_flag(1.0), crowd_flag(True), crowd_flag("0"), crowd_flag(2)
    (False, False, True, True, None, None)
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    number = whole_number(value)
    return bool(number) if number in (0, 1) else None
