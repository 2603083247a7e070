"""Writer of a JSON list that adds elements one by one, so that the list is never in memory."""

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from structures.output_paths import check_output_file


class JsonListWriter:
    """Writes a JSON list to a temporary file, which replaces the target when the list is closed.

    Args:
        path: The file; missing folders are made, an existing file is replaced by ``close``.

    Raises:
        OSError: If nothing can be written there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = check_output_file(path)
        self.temporary: Path = self.path.with_name(f".{self.path.name[:40]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        self.count = 0
        self._file: IO[str] | None = self.temporary.open("x", encoding="utf-8")

    def extend(self, elements: Iterable[Any]) -> None:
        """Add elements, each a plain value of JSON.

        Raises:
            ValueError: If the list is closed.
            OSError: If the disk is full.
        """
        if self._file is None:
            raise ValueError(f"the list of '{self.path}' is closed")
        for element in elements:
            self._file.write("[\n" if self.count == 0 else ",\n")
            self._file.write(json.dumps(element, ensure_ascii=False))
            self.count += 1

    def close(self) -> None:
        """Replace the target by the finished list; does nothing the second time.

        Raises:
            OSError: If the disk is full; the target is unchanged.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            with file:
                file.write("[]\n" if self.count == 0 else "\n]\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(self.temporary, self.path)
        except BaseException:
            self.temporary.unlink(missing_ok=True)
            raise
