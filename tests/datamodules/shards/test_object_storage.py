"""Shards in S3-compatible object storage: the batches of the local folder, through a cache of limited size."""

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datamodules.shards.storage import Storage
from tests.datamodules.shards.conftest import READERS, settings
from tests.datamodules.shards.test_datamodule import assert_equal, batches

Folder = Callable[[str], Path]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket ``data`` on a local S3 server, whose address and credentials are in the environment."""
    moto = pytest.importorskip("moto.server", reason="the extra `shards` is not installed")
    boto3 = pytest.importorskip("boto3", reason="the extra `shards` is not installed")
    pytest.importorskip("litdata", reason="the extra `shards` is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": host,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    urllib.request.urlopen(
        f"http://{host}:{port}/moto-api/reset", data=b""
    )  # servers of one process share their content
    client.create_bucket(Bucket="data")
    yield client
    server.stop()


def upload(client: Any, folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.upload_file(str(path), "data", f"set/{path.relative_to(folder)}")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_local_folder(bucket: Any, shards: Folder, tmp_path: Path, workers: int) -> None:
    upload(bucket, shards("instances"))
    wanted = batches(READERS["instances"](str(shards("instances")), **settings("instances")))
    for shuffle in ("samples", "shards"):
        arguments = settings("instances") | {"cache_folder": str(tmp_path / "cache"), "num_workers": workers}
        local = READERS["instances"](str(shards("instances")), **settings("instances"), shuffle=shuffle)
        remote = READERS["instances"]("s3://data/set/", **arguments, shuffle=shuffle)
        assert_equal(batches(remote), wanted if shuffle == "samples" else batches(local))
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_cache_keeps_to_its_size_and_fetches_again(bucket: Any, shards: Folder, tmp_path: Path) -> None:
    upload(bucket, shards("instances"))
    largest = max(path.stat().st_size for path in (shards("instances") / "train").glob("chunk-*.bin"))
    cache = tmp_path / "cache"
    data = READERS["instances"](
        "s3://data/set", **settings("instances"), cache_folder=str(cache), cache_gb=1.1 * largest / 1e9
    )
    wanted = batches(READERS["instances"](str(shards("instances")), **settings("instances")))
    for _ in range(2):
        assert_equal(batches(data), wanted)
        assert sum(path.stat().st_size for path in cache.rglob("chunk-*.bin")) <= 1.1 * largest


def test_new_data_at_the_same_address_are_not_mixed_with_old_copies(
    bucket: Any, shards: Folder, tmp_path: Path, data_root: Folder
) -> None:
    from tests.datamodules.shards.conftest import original, write

    upload(bucket, shards("instances"))
    arguments = settings("instances") | {"cache_folder": str(tmp_path / "cache")}
    first = batches(READERS["instances"]("s3://data/set", **arguments))
    other = original("instances", data_root("instances"))
    from tests.data.make_coco import make_coco

    other.root = make_coco(tmp_path / "other", n_train=5)  # type: ignore[attr-defined]
    write(other, tmp_path / "other_shards", "instances")
    for item in bucket.list_objects_v2(Bucket="data")["Contents"]:
        bucket.delete_object(Bucket="data", Key=item["Key"])
    upload(bucket, tmp_path / "other_shards")
    again = batches(READERS["instances"]("s3://data/set", **arguments))
    assert len(again) < len(first)


def test_incomplete_uploads_are_one_sentence(bucket: Any, shards: Folder, tmp_path: Path) -> None:
    def data() -> Any:
        return READERS["instances"]("s3://data/set", **settings("instances"), cache_folder=str(tmp_path / "cache"))

    with pytest.raises(FileNotFoundError, match=r"There is no s3://data/set/shards.json: copy all files of the shards"):
        data().prepare_data()
    upload(bucket, shards("instances"))
    whole = (shards("instances") / "train" / "chunk-0-0.bin").read_bytes()
    bucket.put_object(Bucket="data", Key="set/train/chunk-0-0.bin", Body=whole[:-5])
    with pytest.raises(
        ValueError, match=r"s3://data/set/train/chunk-0-0.bin is torn: it has \d+ bytes, but its index says"
    ):
        batches(data())
    assert not [path for path in (tmp_path / "cache").rglob("chunk-0-0.bin") if path.parent.name == "train"]


def test_a_server_that_does_not_answer_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("litdata", reason="the extra `shards` is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("datamodules.shards.storage.ATTEMPTS", 1)
    with pytest.raises(OSError, match=r"s3://data/set/shards.json cannot be fetched .*AWS_ENDPOINT_URL"):
        Storage("s3://data/set", cache_folder=str(tmp_path)).path("shards.json")
