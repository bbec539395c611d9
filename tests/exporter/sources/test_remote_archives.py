"""Archives: unpacking, refusals without a byte outside of the folder, and downloads from a local server."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import DATA, tiny
from hubs import Hubs, serve, tar_of
from rawbert.exporter import (
    ConfigError,
    CorruptSource,
    DownloadError,
    SourceError,
    SourceNotFound,
    UnsupportedModel,
    sources,
)
from rawbert.exporter.sources.remote import archive, download


def zip_of(folder: Path, prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(folder.rglob("*")):
            made.write(path, f"{prefix}{path.relative_to(folder)}")
    return buffer.getvalue()


PACKED = {
    "a.tar": lambda: tar_of(DATA / "tiny_bert", "w:"),
    "a.tar.gz": lambda: tar_of(DATA / "tiny_bert", "w:gz", "./"),
    "a.tgz": lambda: tar_of(DATA / "tiny_bert", "w:gz", "uncased/deep/"),
    "a.tar.bz2": lambda: tar_of(DATA / "tiny_bert", "w:bz2"),
    "a.tar.xz": lambda: tar_of(DATA / "tiny_bert", "w:xz"),
    "a.zip": lambda: zip_of(DATA / "tiny_bert"),
    "A.ZIP": lambda: zip_of(DATA / "tiny_bert", "uncased_L-12/"),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_local_archive_is_a_checkpoint_for_as_long_as_it_is_needed(tmp_path: Path, checkpoint, name: str):
    (tmp_path / name).write_bytes(PACKED[name]())
    with sources.fetched(str(tmp_path / name)) as location:
        loaded = sources.load(location)
        assert loaded.tokenizer == checkpoint.tokenizer
        assert (location.origin, location.revision) == ("archive", None)
        assert len(location.sha256) == 64
        folder = location.folder
    assert not folder.exists()
    assert os.listdir(tmp_path) == [name]


def test_two_checkpoints_in_one_archive_are_refused(tmp_path: Path):
    for name in ("one", "two"):
        tiny(tmp_path / "both" / name)
    (tmp_path / "a.tar").write_bytes(tar_of(tmp_path / "both", "w:"))
    with (
        pytest.raises(UnsupportedModel, match="expected one checkpoint, found one, two"),
        sources.fetched(str(tmp_path / "a.tar")),
    ):
        pass


def test_a_revision_of_a_local_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="leave --revision out"), sources.fetched(str(DATA / "tiny_bert"), "main"):
        pass


# Archives that must be refused. Careless unpacking would write outside of the folder.


def member(name: str, content: bytes = b"x", **kind) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in kind.items():
        setattr(info, key, value)
    return info, content


def tar_with(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for info, content in members:
            made.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


def zip_with(*members: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            made.writestr(info, content)
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, b"", type=kind, linkname=target)


LINK = stat.S_IFLNK | 0o777
FILE = stat.S_IFREG | 0o644

EVIL: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "tar: up and out": ("a.tar.gz", lambda out: tar_with(member("../trace")), "'../trace' is outside"),
    "tar: up and out in the middle": ("a.tar.gz", lambda out: tar_with(member("a/../../trace")), "is outside"),
    "tar: absolute": ("a.tar.gz", lambda out: tar_with(member(str(out / "trace"))), "is outside"),
    "tar: back slashes": ("a.tar.gz", lambda out: tar_with(member("..\\trace")), "is outside"),
    "tar: a link outside": ("a.tar.gz", lambda out: tar_with(link("vocab.txt", str(out / "secret"))),
        "expected a file of"),
    "tar: a relative link outside": ("a.tar.gz", lambda out: tar_with(link("a", "../secret")), "expected a file of"),
    "tar: through a link": (
        "a.tar.gz", lambda out: tar_with(link("a", str(out)), member("a/trace")), "expected a file of the archive"),
    "tar: through a link to itself": (
        "a.tar.gz", lambda out: tar_with(link("a", "."), link("b", "a/.."), member("b/trace")), "expected a file of"),
    "tar: a hard link outside": (
        "a.tar.gz", lambda out: tar_with(link("a", str(out / "secret"), tarfile.LNKTYPE)), "expected a file of"),
    "tar: a hard link up and out": (
        "a.tar.gz", lambda out: tar_with(link("b/a", "../secret", tarfile.LNKTYPE)), "expected a file of"),
    "tar: links in a circle": ("a.tar.gz", lambda out: tar_with(link("a", "b"), link("b", "a")), "expected a file of"),
    "tar: a device": ("a.tar.gz", lambda out: tar_with(member("a", b"", type=tarfile.CHRTYPE)), "neither a file"),
    "tar: a pipe": ("a.tar.gz", lambda out: tar_with(member("a", b"", type=tarfile.FIFOTYPE)), "neither a file"),
    "tar: a name twice": ("a.tar.gz", lambda out: tar_with(member("a"), member("./a")), "occurs twice"),
    "tar: a file where a folder is": ("a.tar.gz", lambda out: tar_with(member("a"), member("a/b")), "occurs twice"),
    "zip: up and out": ("a.zip", lambda out: zip_with(("../trace", b"x", FILE)), "'../trace' is outside"),
    "zip: absolute": ("a.zip", lambda out: zip_with((str(out / "trace"), b"x", FILE)), "is outside"),
    "zip: a drive": ("a.zip", lambda out: zip_with(("c:/trace", b"x", FILE)), "is outside"),
    "zip: a link outside": ("a.zip", lambda out: zip_with(("a", str(out / "secret").encode(), LINK)),
        "expected a file of"),
    "zip: through a link": (
        "a.zip", lambda out: zip_with(("a", str(out).encode(), LINK), ("a/trace", b"x", FILE)), "expected a file of"),
    "neither": ("a.zip", lambda out: b"PK no zip", "neither a tar nor a zip"),
    "empty": ("a.tar.gz", lambda out: b"", "neither a tar nor a zip"),
    "a page": ("a.tar.gz", lambda out: b"<html>sign in</html>", "neither a tar nor a zip"),
}  # fmt: skip


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This user's folder in the system's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    own = tmp_path / "temporary" / f"rawbert-{os.getuid()}"
    own.mkdir(mode=0o700, parents=True)
    return own


@pytest.mark.parametrize("case", EVIL)
def test_what_reaches_outside_is_refused_and_nothing_is_written(tmp_path: Path, scratch: Path, case: str):
    name, make, says = EVIL[case]
    (tmp_path / "secret").write_text("secret")
    (tmp_path / name).write_bytes(make(tmp_path))
    before = everything(tmp_path)
    with pytest.raises(SourceError, match=says), sources.fetched(str(tmp_path / name)):
        pass
    assert everything(tmp_path) == before


def test_a_link_within_the_archive_becomes_a_file(tmp_path: Path):
    content = (DATA / "tiny_bert" / "config.json").read_bytes()
    packed = tar_with(
        member("blobs/1", content), link("model/config.json", "../blobs/1"), link("model/again", "config.json"),
        link("model/hard", "blobs/1", tarfile.LNKTYPE),
    )  # fmt: skip
    (tmp_path / "a.tar.gz").write_bytes(packed)
    (tmp_path / "out").mkdir()
    archive.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    for name in ("config.json", "again", "hard"):
        path = tmp_path / "out" / "model" / name
        assert path.read_bytes() == content
        assert not path.is_symlink()


class Zeros(io.RawIOBase):
    """Ten gigabytes of zeros, without the memory."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        size = min(self.left, size if size >= 0 else self.left)
        self.left -= size
        return bytes(size)


def bomb_tar(path: Path) -> None:
    """One member of 10 GB; the members before it are small."""
    info = tarfile.TarInfo("model.safetensors")
    info.size = 10 << 30
    # The stream is only written as far as a reader that looks at sizes first goes.
    with gzip.open(path, "wb", 1) as stream:
        stream.write(info.tobuf())
        for _ in range(300):
            stream.write(bytes(1 << 20))


def bomb_in_a_header(path: Path) -> None:
    """A name, in the way that long names are kept, of 10 GB."""
    info = tarfile.TarInfo("././@LongLink")
    info.size, info.type = 10 << 30, tarfile.GNUTYPE_LONGNAME
    with gzip.open(path, "wb", 1) as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(300):
            stream.write(bytes(1 << 20))


def bomb_of_many(path: Path) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as made:
        for number in range(12):
            info = tarfile.TarInfo(f"part{number}")
            info.size = 30 << 20
            made.addfile(info, Zeros(info.size))


def bomb_behind_the_end(path: Path) -> None:
    with gzip.open(path, "wb", 1) as stream:
        stream.write(tar_of(DATA / "tiny_bert", "w:"))
        for _ in range(300):
            stream.write(bytes(1 << 20))


def bomb_zip(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open("model.safetensors", "w") as stream,
    ):
        for _ in range(300):
            stream.write(bytes(1 << 20))


def many_members(path: Path) -> None:
    with tarfile.open(path, "w:gz") as made:
        for number in range(10_001):
            made.addfile(tarfile.TarInfo(f"{number}"))


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("a.tar.gz", bomb_tar, "unpacks to more than"),
        ("a.tar.gz", bomb_in_a_header, "headers are larger than"),
        ("a.tar.gz", bomb_of_many, "unpacks to more than"),
        ("a.tar.gz", bomb_behind_the_end, "follow the last member"),
        ("a.zip", bomb_zip, "unpacks to more than"),
        ("a.tar.gz", many_members, "more than 10000 members"),
    ],
)
def test_a_bomb_is_refused_before_it_fills_the_disk(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], None], says: str
):
    make(tmp_path / name)
    written = 0
    write = archive._write

    def counting(target, *rest):
        nonlocal written
        write(target, *rest)
        written += target.stat().st_size

    monkeypatch.setattr(archive, "_write", counting)
    with pytest.raises(UnsupportedModel, match=says), sources.fetched(str(tmp_path / name)):
        pass
    assert written <= 256 << 20
    assert os.listdir(scratch) == []


@pytest.mark.slow
def test_ten_gigabytes_of_zeros_are_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", compresslevel=1) as made:
        info = tarfile.TarInfo("model.safetensors")
        info.size = 10 << 30
        made.addfile(info, Zeros(info.size))
    with pytest.raises(UnsupportedModel, match="unpacks to more than"), sources.fetched(str(tmp_path / "a.tar.gz")):
        pass


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.zip"])
def test_a_damaged_archive_is_refused(tmp_path: Path, name: str):
    whole = PACKED[name]()
    for keep in (100, len(whole) // 2, len(whole) - 20_000 if name == "a.tar" else len(whole) - 3):
        (tmp_path / name).write_bytes(whole[:keep])
        with pytest.raises(SourceError, match=name), sources.fetched(str(tmp_path / name)) as location:
            sources.load(location)
    if name != "a.tar":  # which has no checksum over its contents
        flipped = bytearray(whole)
        flipped[len(whole) * 2 // 3] ^= 0x55
        (tmp_path / name).write_bytes(flipped)
        with pytest.raises(SourceError, match=name), sources.fetched(str(tmp_path / name)) as location:
            sources.load(location)


def test_a_gzip_with_another_checksum_is_refused(tmp_path: Path):
    whole = bytearray(PACKED["a.tar.gz"]())
    whole[-6] ^= 1
    (tmp_path / "a.tar.gz").write_bytes(whole)
    with (
        pytest.raises(CorruptSource, match=r"a\.tar\.gz: the archive is damaged"),
        sources.fetched(str(tmp_path / "a.tar.gz")),
    ):
        pass


# By URL.


@pytest.fixture
def hubs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with serve(Hubs(files={"/a.tar.gz": PACKED["a.tgz"]()})) as running:
        yield running


def fetch(url: str) -> tuple[sources.Location, list[str]]:
    said: list[str] = []
    with sources.fetched(url, say=said.append) as location:
        assert sources.load(location).encoder.hidden_size == 32
    return location, said


@pytest.mark.parametrize("path", ["/a.tar.gz", "/moved/a.tar.gz", "/a.tar.gz?download=true"])
def test_an_archive_is_downloaded_and_redirects_are_followed(hubs: Hubs, path: str):
    location, said = fetch(hubs.url + path)
    assert location.handle == hubs.url + path.partition("?")[0]
    assert said[0] == f"downloading {location.handle}"
    assert location.origin == "archive"


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etag", [True, False])
def test_a_cut_transfer_goes_on_where_it_broke_or_begins_anew(hubs: Hubs, ranges: bool, etag: bool):
    hubs.cut["a.tar.gz"] = [70_000, 1]
    hubs.ranges, hubs.etag = ranges, etag
    _, said = fetch(hubs.url + "/a.tar.gz")
    assert sum("trying again" in line for line in said) == 1
    spans = hubs.asked("a.tar.gz")
    assert len(spans) == 2
    # If the server does not confirm that the file is unchanged, the client requests no part of it.
    assert [span is not None for span in spans] == [False, etag]


def test_a_file_that_changed_meanwhile_begins_anew(hubs: Hubs, monkeypatch: pytest.MonkeyPatch):
    hubs.cut["a.tar.gz"] = [70_000, 1]

    def change(seconds: float) -> None:
        hubs.files["/a.tar.gz"] = PACKED["a.tar.gz"]()

    monkeypatch.setattr(download.time, "sleep", change)
    fetch(hubs.url + "/a.tar.gz")
    assert hubs.asked("a.tar.gz")[1] == "bytes=65536-"


def test_a_transfer_that_always_breaks_fails_cleanly(hubs: Hubs, scratch: Path):
    hubs.cut["a.tar.gz"] = [10, 99]
    with pytest.raises(DownloadError, match=r"broke off 5 times, .*nothing was kept"):
        fetch(hubs.url + "/a.tar.gz")
    assert os.listdir(scratch) == []


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (401, DownloadError, "the server says 401: give credentials"),
        (403, DownloadError, "the server says 403"),
        (404, SourceNotFound, "the server says 404: check the URL"),
        (400, DownloadError, "expected the archive, the server says 400"),
        (500, DownloadError, "broke off 5 times, at last: the server says 500"),
    ],
)
def test_a_refusal_says_what_to_do(hubs: Hubs, status: int, error: type[Exception], says: str):
    hubs.status["a.tar.gz"] = [status]
    with pytest.raises(error, match=says):
        fetch(hubs.url + "/a.tar.gz")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(hubs: Hubs, status: int):
    hubs.status["a.tar.gz"] = [status, 2]
    _, said = fetch(hubs.url + "/a.tar.gz")
    assert sum(f"the server says {status}" in line for line in said) == 2


@pytest.mark.parametrize("cut", [False, True])
def test_what_is_larger_than_any_checkpoint_is_refused(hubs: Hubs, monkeypatch: pytest.MonkeyPatch, cut: bool):
    monkeypatch.setattr(download, "LARGEST", 100_000)
    if cut:  # a part is there already
        hubs.cut["a.tar.gz"] = [70_000, 1]
    with pytest.raises(DownloadError, match="it has more than 100000 bytes"):
        fetch(hubs.url + "/a.tar.gz")


def test_a_length_is_not_believed(hubs: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import requests

    monkeypatch.setattr(download, "LARGEST", 100_000)
    monkeypatch.setattr(requests.Response, "iter_content", lambda response, size: iter(lambda: bytes(size), None))
    hubs.files["/a.tar.gz"] = b"short"
    with pytest.raises(DownloadError, match="it has more than 100000 bytes"):
        download.download(hubs.url + "/a.tar.gz", tmp_path / "a", print)
    assert (tmp_path / "a").stat().st_size <= 100_000


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with serve(Hubs()) as gone:
        pass
    with pytest.raises(DownloadError, match=rf"{gone.url}/a\.zip: the transfer broke off 5 times"):
        fetch(gone.url + "/a.zip")


def test_a_page_in_place_of_an_archive_is_refused(hubs: Hubs):
    hubs.files["/b.zip"] = b"<html>sign in</html>"
    with pytest.raises(UnsupportedModel, match=r"b\.zip: neither a tar nor a zip"):
        fetch(hubs.url + "/b.zip")


def test_a_cut_archive_is_refused(hubs: Hubs):
    hubs.files["/b.tar.gz"] = hubs.files["/a.tar.gz"][:60_000]
    with pytest.raises(CorruptSource, match=r"b\.tar\.gz: the archive is damaged or cut short"):
        fetch(hubs.url + "/b.tar.gz")


def test_https_is_not_left_for_http(hubs: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    if shutil.which("openssl") is None:
        pytest.skip("openssl is needed to make a certificate")
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with serve(Hubs(files=hubs.files), (certificate, key)) as secure:
        fetch(secure.url + "/a.tar.gz")
        secure.elsewhere["/b.zip"] = hubs.url + "/a.tar.gz"
        with pytest.raises(DownloadError, match="redirects from https to http, which is not followed"):
            fetch(secure.url + "/b.zip")
        # And back again: no request is sent without TLS.
        before = len(hubs.requests)
        secure.elsewhere["/c.zip"] = hubs.url + "/back.zip"
        hubs.elsewhere["/back.zip"] = secure.url + "/a.tar.gz"
        with pytest.raises(DownloadError, match="redirects from https to http, which is not followed"):
            fetch(secure.url + "/c.zip")
        assert len(hubs.requests) == before


def test_credentials_are_not_shown(hubs: Hubs):
    url = hubs.url.replace("http://", "http://me:secret@") + "/none.zip?token=secret"
    with pytest.raises(SourceNotFound) as caught:
        fetch(url)
    assert "secret" not in str(caught.value)
