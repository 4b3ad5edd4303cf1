"""Object stores behind one border: a folder, and S3 from a real server."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from consumers.models.objects import Objects, is_remote
from millstream.errors import BundleInvalid, DependencyUnavailable, SettingsInvalid
from ops.process import free_ports
from tests.stores import s3


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """Each kind in turn, empty."""
    if request.param == "folder":
        return Objects(str(tmp_path / "store"))
    return Objects(request.getfixturevalue("s3_address"))


def test_bytes_are_read_as_they_were_written(objects: Objects, tmp_path: Path) -> None:
    """Whole, a part of them, behind a start; they are replaced; and their size is known."""
    assert objects.size("a/b.json") is None
    objects.write("a/b.json", b"0123456789")
    assert objects.size("a/b.json") == 10
    assert objects.read("a/b.json", 0, 100) == b"0123456789"
    assert objects.read("a/b.json", 3, 4) == b"3456"
    (tmp_path / "file").write_bytes(b"another")
    objects.put(tmp_path / "file", "a/b.json")
    assert objects.read("a/b.json", 0, 100) == b"another"
    assert objects.size("a") is None


def test_where_an_object_ends_there_are_no_more_bytes(objects: Objects) -> None:
    """An empty one too, of which S3 has no range to give."""
    objects.write("empty", b"")
    assert objects.read("empty", 0, 100) == b""
    objects.write("a", b"0123456789")
    assert objects.read("a", 10, 4) == b""
    assert objects.read("a", 8, 4) == b"89"


def test_names_below_are_listed(objects: Objects) -> None:
    """Of objects and of folders, of this level only."""
    assert objects.names("a") == []
    for name in ("a/2", "a/1", "a/deep/3", "b"):
        objects.write(name, b"")
    assert objects.names("a") == ["1", "2", "deep"]


def test_of_many_that_create_one_is_told_so(objects: Objects) -> None:
    """And its bytes stay."""
    told: dict[int, bool] = {}

    def create(number: int) -> None:
        told[number] = objects.create("a/b", str(number).encode())

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told.values()) == [False] * 7 + [True]
    (winner,) = [number for number, first in told.items() if first]
    assert objects.read("a/b", 0, 9) == str(winner).encode()
    assert objects.names("a") == ["b"]


def test_what_is_not_there_is_named(objects: Objects) -> None:
    """With its whole address."""
    with pytest.raises(BundleInvalid, match=r"://.*/store|://.*/millstream"):
        objects.read("no/thing", 0, 1)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", ".hidden", "a/.b", "a\nb", "a/"]
)
def test_a_name_cannot_leave_the_store(objects: Objects, name: str) -> None:
    """Whatever is asked of it."""
    for ask in (
        lambda: objects.read(name, 0, 1),
        lambda: objects.write(name, b""),
        lambda: objects.create(name, b""),
        lambda: objects.put(Path(__file__), name),
    ):
        with pytest.raises(BundleInvalid, match="no name of an object"):
            ask()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://host/x",
        "https://host/x",
        "ftp://host/x",
        "memory://x",
        "s3://",
        "s3://bucket/../other",
        "s3://user:secret@bucket/x",
        "s3://bucket/x?endpoint=other",
        "simplecache::s3://bucket/x",
        "github:x",
        "file://host/x",
        "file://",
    ],
)
def test_an_address_is_a_folder_or_a_bucket(address: str) -> None:
    """Addresses come from records too: none makes us ask an arbitrary host."""
    with pytest.raises(SettingsInvalid, match="no address of a store"):
        Objects(address)


def test_folders_are_addressed_as_urls(tmp_path: Path) -> None:
    """So that an address means the same wherever it is read."""
    for name in ("a store", "100%41", "a#b?c"):
        by_path = Objects(str(tmp_path / name))
        assert by_path.address == f"file://{tmp_path}/{name}"
        again = Objects(by_path.address)
        assert again.address == by_path.address
        by_path.write("x", name.encode())
        assert again.read("x", 0, 100) == name.encode()
        assert again.folder == tmp_path / name
    assert is_remote("s3://bucket/x")
    assert not is_remote(by_path.address)
    assert not is_remote("models")


@pytest.mark.parametrize(("scheme", "client"), [("gs", "gcsfs"), ("abfs", "adlfs")])
def test_a_client_that_is_not_installed_is_named(scheme: str, client: str) -> None:
    """With what to install."""
    with pytest.raises(SettingsInvalid, match=f"needs {client}"):
        Objects(f"{scheme}://bucket/x")


def test_a_store_that_is_not_there_is_a_dependency(
    s3_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens on that port."""
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(DependencyUnavailable, match="object store"):
        Objects(s3_address).read("a", 0, 1)


def test_missing_credentials_are_the_operators(
    s3_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variables that hold them."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SettingsInvalid, match="AWS_ACCESS_KEY_ID"):
        Objects(s3_address).read("a", 0, 1)


def test_a_bucket_that_is_not_there_is_missing(s3_address: str) -> None:
    """As what should be in it."""
    with pytest.raises(BundleInvalid, match="is missing"):
        Objects("s3://no-such-bucket-at-all/x").write("a", b"")


def test_another_client_sees_the_same_objects(s3_port: int, s3_address: str) -> None:
    """They are plain objects."""
    Objects(s3_address).write("a/b", b"content")
    bucket = s3_address.removeprefix("s3://").partition("/")[0]
    found = s3(s3_port).get_object(Bucket=bucket, Key="millstream/a/b")
    assert found["Body"].read() == b"content"
