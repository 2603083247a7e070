"""Files of a folder of shards: on a local disk, or in object storage with a cache on a local disk.

litdata's clients fetch the files, from every address that it understands (``s3://``, ``gs://``, ``azure://``).
Credentials and the address of an S3-compatible server come from the environment (``AWS_PROFILE``,
``AWS_ENDPOINT_URL`` and the like) and never from a configuration file.
"""

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.rooms.make_store import default_root

ATTEMPTS = 8
"""Attempts to fetch a file from S3, with growing pauses: a server that restarts within a minute is waited for."""


def is_remote(root: str) -> bool:
    """Whether a folder is an address in object storage."""
    return "://" in root


class Storage:
    """A folder of files, read through local copies.

    Args:
        root: Folder or address of the shards.
        cache_folder: Folder of the local copies; None uses ``shards`` in the folder of embedded data. Processes of one
            machine share it.
        cache_gb: Size of the copies of shards in 1e9 bytes, beyond which the least recently used are deleted; None
            keeps all.
    """

    def __init__(self, root: str, *, cache_folder: str | None = None, cache_gb: float | None = None) -> None:
        if cache_gb is not None and cache_gb <= 0:
            raise ValueError(f"cache_gb has to be above 0 or null, got {cache_gb}.")
        self.root = root.rstrip("/") or "/"
        self.remote = is_remote(root)
        self.cache_bytes = None if cache_gb is None else int(cache_gb * 1e9)
        folder = default_root() / "shards" if cache_folder is None else Path(cache_folder)
        self.cache = folder / hashlib.sha256(self.root.encode()).hexdigest()[:12]
        self._client: Any = None
        self._client_process = 0
        self._fetching = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a loader process, which opens a connection of its own."""
        return {**self.__dict__, "_client": None, "_fetching": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._fetching = threading.Lock()

    def where(self, name: str) -> str:
        """Return the path or address of a file, for messages."""
        return f"{self.root}/{name}"

    def path(self, name: str, *, size: int | None = None, version: str = "", fresh: bool = False) -> Path:
        """Return the path of a local copy of a file, fetched if it is missing.

        Args:
            name: The file, relative to the root.
            size: Its size in bytes, if known; a copy of another size is not used.
            version: Folder of the copy, so that two versions of the data do not mix.
            fresh: Whether to fetch the file even if there is a copy.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If its size is wrong.
            ImportError: If the root is in object storage and litdata is not installed.
            OSError: If it cannot be fetched.
        """
        if not self.remote:
            path = Path(self.root) / name
            if not path.is_file():
                raise FileNotFoundError(
                    f"There is no file '{path}': set data.init_args.root to a folder of finished shards (make shards)."
                )
            _check_size(path, size, str(path))
            return path
        target = self.cache / version / name
        if not fresh and _has_size(target, size):
            with contextlib.suppress(OSError):
                os.utime(target)  # the last use, for eviction
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._fetching, _locked(target.with_name(target.name + ".lock")):
            if fresh or not _has_size(target, size):
                self._fetch(name, target, size)
                self._evict(keep=target)
        return target

    def _fetch(self, name: str, target: Path, size: int | None) -> None:
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                self._download(name, file)
            _check_size(partial, size, self.where(name))
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _download(self, name: str, file: Any) -> None:
        if self._client is None or self._client_process != os.getpid():  # connections do not survive a fork
            try:
                from litdata.streaming.downloader import get_downloader
            except ImportError as error:
                raise ImportError(
                    f"Reading {self.root} needs litdata, which is not installed: pip install -e '.[shards]'."
                ) from error
            self._client = get_downloader(self.root, str(self.cache), [], _client_options(self.root))
            self._client_process = os.getpid()
        try:
            self._client.download_fileobj(self.where(name), file)
        except OSError:
            raise
        except Exception as error:  # each provider has exceptions of its own
            if "404" in str(error) or "NoSuch" in str(error) or "Not Found" in str(error):
                raise FileNotFoundError(
                    f"There is no {self.where(name)}: copy all files of the shards there."
                ) from error
            raise OSError(
                f"{self.where(name)} cannot be fetched ({error}): check the address, the credentials and, for a server "
                "other than Amazon's, AWS_ENDPOINT_URL."
            ) from error

    def _evict(self, *, keep: Path) -> None:
        """Delete the least recently used copies of shards until the others fit into the cache."""
        if self.cache_bytes is None:
            return
        found = []
        for path in self.cache.rglob("chunk-*.bin"):
            with contextlib.suppress(FileNotFoundError):  # another process evicts as well
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.cache_bytes:
                return
            if path != keep:
                path.unlink(missing_ok=True)  # a process that is reading it keeps its content
                total -= size


def _client_options(root: str) -> dict[str, Any]:
    """Return options of S3 with a bounded number of attempts; litdata's own 1,000 hide a wrong address for hours."""
    if not root.startswith("s3://"):
        return {}
    from botocore.config import Config

    return {"config": Config(retries={"max_attempts": ATTEMPTS, "mode": "standard"}, connect_timeout=10)}


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock among the processes of a machine, so that one of them fetches a file and the others wait."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _has_size(path: Path, size: int | None) -> bool:
    try:
        return path.is_file() if size is None else path.stat().st_size == size
    except FileNotFoundError:
        return False


def _check_size(path: Path, size: int | None, where: str) -> None:
    found = path.stat().st_size
    if size is not None and found != size:
        raise ValueError(
            f"{where} is torn: it has {found} bytes, but its index says {size}; copy the file again, or delete it and "
            "write the shards again (make shards goes on where it was)."
        )
