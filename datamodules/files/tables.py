"""Reading of CSV tables separated by commas, semicolons or tabs, as spreadsheets in different locales write them."""

import csv
import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path

DELIMITERS = ",;\t"

DECIMAL_COMMA = re.compile(r"\s*[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?\s*")
DECIMAL_POINT = re.compile(r"\s*[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?\s*")


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte order mark (Excel's *Unicode text*).

    Raises:
        ValueError: If it is neither.
        OSError: If the file cannot be read.
    """
    content = path.read_bytes()
    try:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return content.decode("utf-16")
        return content.decode("utf-8-sig")  # Excel writes a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.object[error.start]:#04x} at position {error.start}): save it as "
            "UTF-8, which Excel calls 'CSV UTF-8'."
        ) from error


def delimiter_of(head: str, columns: Collection[str]) -> str:
    """Return the delimiter of a table: the one of comma, semicolon and tab that gives the most known columns.

    >>> delimiter_of("image;depth;fx", {"image", "depth"}), delimiter_of("image,depth", {"image", "depth"})
    (';', ',')
    """

    def known(delimiter: str) -> int:
        return sum(name.strip().lower() in columns for name in next(csv.reader([head], delimiter=delimiter), []))

    return max(DELIMITERS, key=known)  # ties go to the comma


def read_csv(path: Path, columns: Collection[str], numeric: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a table as (line number, row) pairs; empty rows are skipped.

    The delimiter follows from the header line. If it is not the comma, numbers may have a decimal comma, which becomes
    a point. Spaces around values and the case of column names are ignored.

    Args:
        path: The file.
        columns: Known column names.
        numeric: Names of the numeric columns.

    Raises:
        ValueError: If the file is no CSV, its header has no known column or a duplicate, a row is longer than the
            header, or numbers mix decimal commas and points.
        OSError: If the file cannot be read.
    """
    text, skipped = read_text(path).replace("\r\n", "\n").replace("\r", "\n"), 0  # Excel's "CSV (Macintosh)" has \r
    if re.match(r"sep=[,;\t]\n", text):  # an Excel directive, not part of the table
        text, skipped = text[text.index("\n") + 1 :], 1
    delimiter = delimiter_of(text.split("\n", 1)[0], columns)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        if reader.fieldnames is not None:
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames]
            _check_head(path, reader.fieldnames, columns)
        for row in reader:
            line = reader.line_num + skipped
            if any(value for value in row.get(None, [])):
                raise ValueError(f"{path}, line {line}: there are more values than columns in the head.")
            filled = {key: value.strip() for key, value in row.items() if key is not None and value and value.strip()}
            if filled:
                rows.append((line, filled))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num + skipped}: this is no CSV ({error}).") from error
    if delimiter != ",":
        _mend_decimals(path, rows, numeric)
    return rows


def _check_head(path: Path, names: Sequence[str], columns: Collection[str]) -> None:
    if not any(name in columns for name in names):
        raise ValueError(
            f"{path}: the first line has to name the columns ({', '.join(columns)}), separated by commas, semicolons "
            f"or tabs, but it is '{', '.join(names)}'."
        )
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{path}: the column '{twice}' occurs twice; remove or rename one of them.")


def _mend_decimals(path: Path, rows: list[tuple[int, dict[str, str]]], numeric: Collection[str]) -> None:
    """Replace decimal commas by points; a mixture is refused, as the point may be a thousands separator."""
    point = next(
        ((line, row[key]) for line, row in rows for key in numeric if DECIMAL_POINT.fullmatch(row.get(key, ""))), None
    )
    for line, row in rows:
        for key in numeric:
            value = row.get(key, "")
            if not DECIMAL_COMMA.fullmatch(value):
                continue
            if point is not None:
                raise ValueError(
                    f"{path}, line {line}: {key} is '{value}' with a decimal comma, but line {point[0]} has "
                    f"'{point[1]}' with a point: write all numbers with the same sign."
                )
            row[key] = value.replace(",", ".")
