"""Locks and temporary folders: remains of killed processes are removed, and other users can do no harm."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import Mock

import pytest
from rawbert.exporter import OutputError, scratch
from rawbert.exporter.publish.bundle import Staging
from rawbert.exporter.scratch import locked


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def own(system: Path) -> Path:
    """This user's folder in it."""
    return system / f"rawbert-{os.getuid()}"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")


def test_temporary_folders_of_killed_processes_go(system: Path, own: Path) -> None:
    code = "import time\nfrom rawbert.exporter import scratch\nwith scratch.temporary() as folder:\n"
    code += " (folder / 'x').write_text('')\n print(folder, flush=True)\n time.sleep(60)"
    environment = {**os.environ, "TMPDIR": str(system)}
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    folders = [Path(process.stdout.readline().strip()) for process in running if process.stdout is not None]
    try:
        assert [folder.stat().st_mode & 0o777 for folder in (own, *folders)] == [0o700] * 3
        running[0].kill()
        running[0].wait()
        with scratch.temporary():
            assert [folder.exists() for folder in folders] == [False, True]
    finally:
        running[1].terminate()
        running[1].wait()
    with scratch.temporary() as mine:
        assert {path.name for path in own.iterdir()} == {mine.name, f"{mine.name}.lock"}
    assert list(own.iterdir()) == []


@pytest.mark.parametrize("taken", ["file", "link", "loop", "open to others", "another user's"])
def test_a_name_that_is_taken_stops_nobody(
    system: Path, own: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    elsewhere = system / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if taken == "file":
        own.write_text("")
    elif taken in ("link", "loop"):
        own.symlink_to(elsewhere if taken == "link" else own)
    else:
        own.mkdir(mode=0o755 if taken == "open to others" else 0o700)
    if taken == "another user's":
        monkeypatch.setattr(os, "getuid", Mock(return_value=os.getuid() + 1))
        own.rename(system / f"rawbert-{os.getuid()}")
    with scratch.temporary() as folder:
        assert folder.parent == system
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("make", ["folder", "link", "pipe"])
def test_what_others_put_into_a_base_path_stops_nobody(tmp_path: Path, make: str) -> None:
    target = tmp_path / "precious"
    base_path = tmp_path / "m"
    base_path.mkdir()
    lock = base_path / ".rawbert-0123456789abcdef.lock"
    if make == "folder":
        lock.mkdir()
    elif make == "link":
        lock.symlink_to(target)
        (base_path / ".rawbert-1").symlink_to(tmp_path)
    else:
        os.mkfifo(lock)
    with Staging(base_path, None, False) as staging:
        staging.publish()
    assert (base_path / "1").is_dir()
    assert tmp_path.is_dir()
    assert not target.exists()


def test_a_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "target").exists()


@needs_proc
def test_no_descriptor_stays_open_where_a_lock_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    with monkeypatch.context() as patch, locked(tmp_path / "lock", temporary=True):
        patch.setattr(Path, "unlink", Mock(side_effect=PermissionError))
    assert descriptors() == before
    with locked(tmp_path / "lock", wait=False) as is_had:
        assert is_had


@needs_proc
@pytest.mark.parametrize("name", ["flock", "samestat", "lstat"])
def test_no_descriptor_stays_open_where_a_lock_cannot_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = descriptors()
    owner = "fcntl.flock" if name == "flock" else f"os.{'path.' if name == 'samestat' else ''}{name}"
    with monkeypatch.context() as patch:
        patch.setattr(owner, Mock(side_effect=OSError))
        with pytest.raises(OSError), locked(tmp_path / "lock"):  # noqa: PT011
            pass
    assert descriptors() == before


def test_a_held_lock_is_had_by_nobody_else(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), locked(tmp_path / "lock", wait=False) as is_had:
        assert not is_had
    with locked(tmp_path / "lock", wait=False) as is_had:
        assert is_had


def test_a_base_path_where_no_lock_can_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), Staging(tmp_path / "m", None, False):
        pass


#: Parts of the standard library that Python on Windows lacks.
WINDOWS = """
import os, signal, sys
sys.modules["fcntl"] = None
for name in ("getuid", "O_NOFOLLOW", "O_CLOEXEC", "mkfifo", "killpg", "fork"):
    if hasattr(os, name):
        delattr(os, name)
"""


def test_commands_that_read_work_without_locks(tiny_bundle, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"{WINDOWS}\nfrom rawbert.serving.cli import main\nsys.argv = ['rawbert', *{list(arguments)!r}]\nmain()"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    for command in ("check", "inspect", "versions"):
        done = run(command, str(tiny_bundle.base_path))
        assert (done.returncode, done.stderr) == (0, ""), command
    for arguments in (("promote", str(tiny_bundle.base_path), "1"), ("prune", str(tiny_bundle.base_path), "--keep=1")):
        done = run(*arguments)
        assert done.returncode == 1
        assert "cannot be locked: this system has no flock(2)" in done.stderr
    done = subprocess.run(
        [sys.executable, "-c", f"{WINDOWS}\nfrom rawbert.exporter import scratch\nwith scratch.temporary() as folder:\n"
         " (folder / 'x').write_text('')\nassert not folder.exists()"]
    )  # fmt: skip
    assert done.returncode == 0
