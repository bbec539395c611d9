"""`rawbert push`: a version is complete or invisible, whatever fails, and whenever the command is killed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from google.protobuf import text_format
from rawbert.exporter.errors import ExportError, ModelConfigError, OutputError, SourceNotFound, VersionExists
from rawbert.exporter.publish.push import Pushed, push

ROOT = Path(__file__).parents[3]
FILES = {
    "saved_model.pb": b"graph",
    "fingerprint.pb": b"f",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"weights" * 1000,
    "assets/vocab.txt": b"a\nb\n",
    "assets.extra/empty": b"",
}


def parsed_config(text: str) -> Any:
    """A models.config, parsed by the official messages."""
    from tensorflow_serving.config import model_server_config_pb2

    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


class Killed(BaseException):
    """A substitute for SIGKILL: nothing is cleaned up."""


class Faulty(MemoryFileSystem):
    """An object store in memory; its Nth operation fails, or ends the process before it is complete."""

    protocol = "faulty"
    store: dict[str, Any] = {}  # noqa: RUF012 the base has one, too, which is not to be shared
    pseudo_dirs = [""]  # noqa: RUF012
    cachable = False
    #: Called before each operation that writes, with its name and its path.
    before: Callable[[str, str], None] = staticmethod(lambda what, path: None)
    #: End of a path -> contents to return in place of the real ones.
    read_as: dict[str, bytes] = {}  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return str(MemoryFileSystem._strip_protocol(str(path).removeprefix("faulty://")))

    def put_file(self, lpath: Any, rpath: str, *arguments: Any, **settings: Any) -> None:
        self.before("put", rpath)
        super().put_file(lpath, rpath, *arguments, **settings)

    def pipe_file(self, path: str, value: bytes, *arguments: Any, **settings: Any) -> None:
        self.before("pipe", path)
        super().pipe_file(path, value, *arguments, **settings)

    def rm_file(self, path: str) -> None:
        self.before("rm", path)
        super().rm_file(path)

    def cat_file(self, path: str, *arguments: Any, **settings: Any) -> bytes:
        for end, data in self.read_as.items():
            if path.endswith(end) and path in self.store:
                return data
        found: bytes = super().cat_file(path, *arguments, **settings)
        return found

    def _open(self, path: str, mode: str = "rb", *arguments: Any, **settings: Any) -> Any:
        found = super()._open(path, mode, *arguments, **settings)
        for end, data in self.read_as.items():
            if mode == "rb" and path.endswith(end):
                return type(found)(None, path, data)
        return found


@pytest.fixture(autouse=True)
def faulty(monkeypatch: pytest.MonkeyPatch) -> type[Faulty]:
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    monkeypatch.setattr(Faulty, "store", {})
    monkeypatch.setattr(Faulty, "pseudo_dirs", [""])
    monkeypatch.setattr(Faulty, "read_as", {})
    monkeypatch.setattr(Faulty, "before", staticmethod(lambda what, path: None))
    return Faulty


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of versions 1 and 2."""
    folder = tmp_path / "models" / "minilm"
    for version in ("1", "2"):
        for name, data in FILES.items():
            path = folder / version / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data + (version.encode() if data else b""))
    return folder


URL = "faulty://bucket/models/minilm"


def there() -> dict[str, bytes]:
    """The objects by their names in the bucket."""
    return {name.removeprefix("/bucket/models/"): bytes(file.getvalue()) for name, file in Faulty.store.items()}


def served() -> dict[str, list[int]]:
    """The versions that servers load by models.config, by model; the official package parses the file."""
    text = there().get("models.config", b"").decode()
    return {
        model.name: list(model.model_version_policy.specific.versions)
        for model in parsed_config(text).model_config_list.config
    }


def whole(folder: Path, version: int) -> bool:
    """Whether the store has the same files of a version as the local folder."""
    local = {
        f"minilm/{version}/{path.relative_to(folder / str(version)).as_posix()}": path.read_bytes()
        for path in (folder / str(version)).rglob("*")
        if path.is_file()
    }
    found = {name: data for name, data in there().items() if name.startswith(f"minilm/{version}/")}
    return found == local


def pushed(folder: Path, **settings: Any) -> Pushed:
    return push(folder, URL, **{"settle": 0, **settings})


def test_the_newest_version_is_there_and_listed(model: Path) -> None:
    written: list[str] = []
    Faulty.before = staticmethod(lambda what, path: written.append(path.removeprefix("/bucket/models/")))
    done = pushed(model)
    assert (done.url, done.version, done.files, done.models_config) == (
        f"{URL}/2", 2, len(FILES), "faulty://bucket/models/models.config"
    )  # fmt: skip
    assert done.sent == done.size == sum(path.stat().st_size for path in (model / "2").rglob("*") if path.is_file())
    assert whole(model, 2)
    assert served() == {"minilm": [2]}
    assert written[0] == "minilm/.rawbert/2.json"
    assert written[-2:] == ["minilm/2/saved_model.pb", "models.config"]
    record = json.loads(there()["minilm/.rawbert/2.json"])["files"]
    assert record["assets/vocab.txt"] == {"sha256": hashlib.sha256(b"a\nb\n2").hexdigest(), "size": 5}
    (entry,) = parsed_config(there()["models.config"].decode()).model_config_list.config
    assert (entry.base_path, entry.model_platform) == (URL, "tensorflow")


def test_a_second_push_sends_nothing(model: Path) -> None:
    pushed(model)
    before = there()
    Faulty.before = staticmethod(lambda what, path: pytest.fail(f"{what} {path}"))
    assert pushed(model).sent == 0
    assert there() == before


def test_versions_with_labels_stay_loaded(model: Path) -> None:
    pushed(model, version=1, served_from="/models")
    entry = 'name: "minilm" base_path: "/models/minilm" model_platform: "tensorflow"'
    assert 'base_path: "/models/minilm"' in there()["models.config"].decode()
    labels = 'version_labels { key: "stable" value: 1 }'
    policy = "model_version_policy { specific { versions: 1 } }  # kept"
    text = f"model_config_list {{ config {{ {entry} {labels}\n{policy}\n}} }}"
    Faulty(None).pipe_file("/bucket/models/models.config", text.encode())
    pushed(model)
    assert served() == {"minilm": [1, 2]}
    assert "# kept" in there()["models.config"].decode()
    pushed(model, version=1)
    assert served() == {"minilm": [1, 2]}  # callers without a version get the newest


@pytest.mark.parametrize("policy", ["", "model_version_policy { all {} }"])
def test_servers_are_pinned_before_the_folder_appears(
    model: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With version policies by which a server loads every version that it sees."""
    pushed(model, version=1)
    entry = f'name: "minilm" base_path: "/models/minilm" model_platform: "tensorflow" {policy}'
    Faulty(None).pipe_file("/bucket/models/models.config", f"model_config_list {{ config {{ {entry} }} }}".encode())
    seen: list[Any] = []
    Faulty.before = staticmethod(lambda what, path: seen.append((served(), path)) if "/2/" in path else None)
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    pushed(model, settle=7)
    assert [at for at, _ in seen] == [{"minilm": [1]}] * len(FILES)
    assert slept == [7]
    assert served() == {"minilm": [2]}


def test_other_models_of_the_file_stay(model: Path) -> None:
    entry = 'name: "other"  # ours\n base_path: "/models/other"\n model_platform: "tensorflow"'
    other = f"model_config_list {{\n config {{\n {entry}\n }}\n}}\n"
    Faulty(None).pipe_file("/bucket/models/models.config", other.encode())
    pushed(model)
    assert list(served()) == ["other", "minilm"]
    assert 'name: "other"  # ours' in there()["models.config"].decode()


def test_another_content_is_refused(model: Path) -> None:
    pushed(model)
    before = there()
    (model / "2" / "assets" / "vocab.txt").write_bytes(b"a\nc\n2")
    with pytest.raises(VersionExists, match=r"other content \(assets/vocab.txt\).*under a new number"):
        pushed(model, restart=True)
    (model / "2" / "assets" / "more.txt").write_bytes(b"")
    with pytest.raises(VersionExists, match=r"assets/more\.txt"):
        pushed(model)
    assert there() == before


def test_a_version_that_was_copied_by_other_means(model: Path) -> None:
    for name in FILES:
        Faulty(None).pipe_file(f"/bucket/models/minilm/2/{name}", (model / "2" / name).read_bytes())
    assert pushed(model).sent == 0
    assert served() == {"minilm": [2]}


def test_an_unfinished_push_of_another_content(model: Path) -> None:
    def fail(what: str, path: str) -> None:
        if path.endswith("variables.index"):
            raise OSError("the network is gone")

    Faulty.before = staticmethod(fail)
    with pytest.raises(
        OutputError, match=r"faulty://bucket/models/minilm/2/variables/variables.index: .*the network is gone"
    ):
        pushed(model)
    Faulty.before = staticmethod(lambda what, path: None)
    (model / "2" / "assets" / "vocab.txt").write_bytes(b"longer than it was")
    with pytest.raises(VersionExists, match="--restart"):
        pushed(model)
    pushed(model, restart=True)
    assert whole(model, 2)


@pytest.mark.parametrize("kind", [OSError, Killed])
def test_whenever_it_ends_nothing_half_is_seen(model: Path, kind: type[BaseException]) -> None:
    """Each write fails in turn, before it starts or after half of the file; then the push continues."""
    pushed(model, version=1)
    start = dict(Faulty.store)
    operations: list[str] = []
    Faulty.before = staticmethod(lambda what, path: operations.append(path))
    pushed(model)
    assert len(operations) == len(FILES) + 2
    for at in range(len(operations)):
        for half in (False, True):
            Faulty.store = dict(start)
            count = iter(range(len(operations)))

            def fail(what: str, path: str, at: int = at, half: bool = half, count: Any = count) -> None:
                if next(count) == at:
                    # Object stores never keep a part of an object; other file systems keep half a file.
                    if half and what == "put" and not path.endswith("saved_model.pb"):
                        MemoryFileSystem.pipe_file(Faulty(None), path, b"half")
                    raise kind("here it ends")

            Faulty.before = staticmethod(fail)
            with pytest.raises((OutputError, Killed)):
                pushed(model)
            assert served() == {"minilm": [1]}
            assert "minilm/2/saved_model.pb" not in there() or whole(model, 2)
            assert whole(model, 1)
            Faulty.before = staticmethod(lambda what, path: None)
            done = pushed(model)
            assert whole(model, 2)
            assert served() == {"minilm": [2]}
            assert done.sent <= done.size


@pytest.mark.parametrize("name", ["2/variables/variables.index", "2/saved_model.pb", ".rawbert/2.json"])
def test_what_is_read_back_differs(model: Path, name: str) -> None:
    Faulty.read_as = {name: b"rotten"}
    with pytest.raises(OutputError, match="the store returned other bytes than were"):
        pushed(model)
    Faulty.read_as = {}
    assert served() == {}
    assert "minilm/2/saved_model.pb" not in there()
    pushed(model)
    assert whole(model, 2)


def test_a_store_that_loses_models_config(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Faulty.pipe_file
    monkeypatch.setattr(
        Faulty,
        "pipe_file",
        lambda self, path, *rest, **more: "models.config" in path or real(self, path, *rest, **more),
    )
    with pytest.raises(OutputError, match=r"models\.config: the store returned other bytes"):
        pushed(model)


def test_two_pushes_at_once_do_not_mix(model: Path, tmp_path: Path) -> None:
    """Another push with other content begins during this one."""
    foreign = tmp_path / "foreign" / "minilm"
    foreign.parent.mkdir()
    model.rename(foreign)
    (foreign / "2" / "assets" / "vocab.txt").write_bytes(b"foreign")

    def write_claim(what: str, path: str) -> None:
        if path.endswith("variables.index"):
            MemoryFileSystem.pipe_file(Faulty(None), "/bucket/models/minilm/.rawbert/2.json", b'{"files": {}}\n')

    Faulty.before = staticmethod(write_claim)
    with pytest.raises(VersionExists, match="another push of other content"):
        pushed(foreign)
    assert "minilm/2/saved_model.pb" not in there()


def test_dry_run_writes_nothing(model: Path) -> None:
    Faulty.before = staticmethod(lambda what, path: pytest.fail(f"{what} {path}"))
    done = pushed(model, dry_run=True)
    assert done.sent == done.size > 0
    assert there() == {}


def test_without_models_config(model: Path) -> None:
    assert pushed(model, with_config=False).models_config is None
    assert "models.config" not in there()
    assert push(model, "faulty://minilm", with_config=False).url == "faulty://minilm/2"


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("faulty://minilm", ModelConfigError, "has no folder above it"),
        ("nowhere://bucket/minilm", OutputError, "Protocol not known"),
        ("gs://bucket/models/minilm", OutputError, "pip install gcsfs"),
        ("s3://bucket/models/minilm", OutputError, "pip install s3fs"),
    ],
)
def test_urls_that_cannot_be_used(model: Path, url: str, kind: type[ExportError], said: str) -> None:
    with pytest.raises(kind, match=said):
        push(model, url)


def test_what_is_wrong_here_or_with_models_config(model: Path) -> None:
    with pytest.raises(SourceNotFound, match="no version 9: choose from 1, 2"):
        pushed(model, version=9)
    (model / "3").mkdir()
    with pytest.raises(SourceNotFound, match=r"no saved_model\.pb"):
        pushed(model)
    (model / "3").rmdir()
    for text, said in (
        ("model_config_list { config { name: 5 } }", "not a ModelServerConfig"),
        ('model_config_list { config { name: "minilm" base_path: "/models/other" } }', "has the name minilm for"),
    ):
        Faulty(None).pipe_file("/bucket/models/models.config", text.encode())
        with pytest.raises(ModelConfigError, match=said):
            pushed(model)
        assert list(there()) == ["models.config"]


def test_progress_counts_all_bytes(model: Path) -> None:
    totals, done = [], [0]

    def progress(total: int) -> Callable[[int], None]:
        totals.append(total)

        def tell(count: int) -> None:
            done[0] += count

        return tell

    pushed(model, progress=progress)
    assert done == totals
    done[0] = 0
    pushed(model, progress=progress)
    assert done[0] == totals[1]


# -- the command, and files


def rawbert(*arguments: Any, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, **settings)


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-c", "from rawbert.serving.cli import main; main()", "push", *map(str, arguments)]


def test_the_command_writes_files_without_tensorflow(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "there" / "minilm"
    check = "import sys; sys.modules['tensorflow'] = None; from rawbert.serving.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", check, "push", "minilm", target, "--json"],
                          capture_output=True, text=True, check=False, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["version"], said["url"], said["dry_run"]) == (2, f"file://{target}/2", False)
    assert (target / "2" / "assets" / "vocab.txt").read_bytes() == b"a\nb\n2"
    (entry,) = parsed_config((target.parent / "models.config").read_text()).model_config_list.config
    assert entry.base_path == str(target)
    (model / "2" / "saved_model.pb").write_bytes(b"another")
    refused = rawbert(model, target)
    assert refused.returncode == 1
    assert "other content (saved_model.pb)" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_killed_at_any_time_nothing_half_is_seen(tmp_path: Path) -> None:
    """Repeated SIGKILLs after random times; the last run succeeds."""
    folder, target = tmp_path / "models" / "big", tmp_path / "there" / "big"
    for number in range(8):
        path = folder / "1" / "variables" / f"variables.data-{number:05d}-of-00008"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(24 << 20))
    (folder / "1" / "saved_model.pb").write_bytes(os.urandom(8 << 20))
    local = {path.relative_to(folder / "1"): path.read_bytes() for path in (folder / "1").rglob("*") if path.is_file()}
    draw, kills = random.Random(7), 0
    while True:
        process = subprocess.Popen(
            command(folder, target, "--settle", 0), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        try:
            process.wait(0.5 + 1.5 * draw.random() if kills < 12 else 120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        finally:
            assert process.stderr is not None
            said = process.stderr.read()
            process.stderr.close()
        found = {
            path.relative_to(target / "1"): path.read_bytes() for path in (target / "1").rglob("*") if path.is_file()
        }
        graph = found.get(Path("saved_model.pb"))
        if graph is not None:
            assert {**found, Path("saved_model.pb"): b""} == {**local, Path("saved_model.pb"): b""}
        config = target.parent / "models.config"
        if config.exists():
            assert parsed_config(config.read_text()).model_config_list.config[0].name == "big"
            assert found == local
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, said
    assert kills >= 3
    assert found == local
