"""Versions and labels: the commands, and four processes that run them at random at the same time."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rawbert.exporter import ModelConfigError, OutputError
from rawbert.exporter.protos import SavedModel
from rawbert.exporter.publish import bundle, labels, models_config, versions
from rawbert.exporter.publish.bundle import Staging
from rawbert.exporter.publish.models import Model, find, warnings
from rawbert.exporter.scratch import replace
from rawbert.exporter.targets.content_hash import content_hash
from test_models_config import models as parsed


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A model with five versions, which contain only the files that these tests read."""
    folder = tmp_path / "models" / "m"
    for number in range(1, 6):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "saved_model.pb").write_bytes(b"x" * number)
    return find(str(folder), Path())


def config(model: Model) -> Any:
    (found,) = parsed(model.config.read_text(encoding="utf-8")).values()
    return found


def numbers(model: Model) -> list[int]:
    return sorted(int(name) for name in os.listdir(model.folder))


def test_promote_and_roll_back(model: Model) -> None:
    assert versions.promote(model, 2, "stable").before is None
    assert versions.promote(model, 2, "stable").before == 2
    versions.promote(model, 4, "stable")
    versions.promote(model, 5, "canary")
    assert dict(config(model).version_labels) == {"stable": 4, "canary": 5}
    assert config(model).base_path == "/models/m"
    versions.promote(model, 5, "stable")
    assert [versions.rollback(model, "stable").version for _ in range(2)] == [4, 2]
    with pytest.raises(ModelConfigError, match="has no earlier version"):
        versions.rollback(model, "stable")
    with pytest.raises(ModelConfigError, match="no label nope"):
        versions.rollback(model, "nope")
    with pytest.raises(ModelConfigError, match="no version 9; choose from: 1, 2, 3, 4, 5"):
        versions.promote(model, 9, "stable")
    assert dict(config(model).version_labels) == {"stable": 2, "canary": 5}


def test_prune_spares_labels_rollbacks_and_the_newest(model: Model) -> None:
    versions.promote(model, 1, "stable")
    versions.promote(model, 2, "stable")
    versions.promote(model, 3, "stable")
    pruned = versions.prune(model, 1)
    assert pruned.removed == (1, 4)
    assert pruned.kept == {2: "a rollback of stable returns to it", 3: "it is stable"}
    assert numbers(model) == [2, 3, 5]
    assert versions.rollback(model, "stable").version == 2
    assert versions.prune(model, 1).removed == (3,)
    with pytest.raises(ValueError, match="keep is 0"):
        versions.prune(model, 0)


def test_a_policy_of_one_s_own_stands(model: Model) -> None:
    model.config.write_text(
        'model_config_list { config { name: "mine" base_path: "/srv/m" model_platform: "tensorflow"\n'
        "model_version_policy { specific { versions: 2 versions: 3 versions: 1 } } } }",
        encoding="utf-8",
    )
    with pytest.raises(ModelConfigError, match=r"\(specific\) does not load version 5"):
        versions.promote(model, 5, "stable")
    versions.promote(model, 3, "stable")
    pruned = versions.prune(model, 1)
    assert pruned.removed == (4,)
    listed = "the version policy of mine lists it"
    assert pruned.kept == {1: listed, 2: listed, 3: "it is stable"}
    assert list(config(model).model_version_policy.specific.versions) == [2, 3, 1]
    assert (config(model).name, config(model).base_path) == ("mine", "/srv/m")


def history(model: Model) -> Any:
    return json.loads((model.config.parent / ".rawbert" / "labels.json").read_text(encoding="utf-8"))


def test_every_step_is_a_way_back(model: Model) -> None:
    for number in (1, 2, 1, 3, 3, 2):
        versions.promote(model, number, "stable")
    assert history(model) == {"m": {"stable": [2, 3, 1, 2, 1]}}
    assert [versions.rollback(model, "stable").version for _ in range(4)] == [3, 1, 2, 1]
    assert history(model) == {"m": {"stable": [1]}}
    for number in (*range(1, 6), *range(1, 6), *range(1, 6)):
        versions.promote(model, number, "stable")
    assert len(history(model)["m"]["stable"]) == 11
    assert "before" not in model.config.read_text(encoding="utf-8")


def test_a_label_that_was_moved_by_hand_goes_back_to_where_rawbert_had_it(model: Model) -> None:
    versions.promote(model, 1, "stable")
    versions.promote(model, 2, "stable")
    text = model.config.read_text(encoding="utf-8")
    model.config.write_text(text.replace("value: 2", "value: 5"), encoding="utf-8")
    assert [versions.rollback(model, "stable").version for _ in range(2)] == [2, 1]


class Crash(Exception):
    pass


@pytest.mark.parametrize("way", [(1, 2, 3), (1, 2, 1), (3, 1, 3, 2), (2, 5)])
@pytest.mark.parametrize("action", ["promote", "rollback"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_crash_between_the_two_files_is_before_or_after(
    model: Model, monkeypatch: pytest.MonkeyPatch, way: tuple[int, ...], action: str, at: int
) -> None:
    """After an interrupt, the label can be rolled back as if the action had not started, or had finished."""
    for number in way:
        versions.promote(model, number, "stable")
    writes = 0

    def crashing(path: Path, text: str) -> None:
        nonlocal writes
        if writes == at:
            raise Crash
        writes += 1
        replace(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(labels, "replace", crashing)
        patch.setattr(models_config, "replace", crashing)
        with pytest.raises(Crash):
            versions.promote(model, 4, "stable") if action == "promote" else versions.rollback(model, "stable")
    now = config(model).version_labels["stable"]
    is_rolled_back = action == "rollback" and at == 1
    assert now == (way[-2] if is_rolled_back else way[-1])
    for expected in reversed(way[:-2] if is_rolled_back else way[:-1]):
        assert versions.rollback(model, "stable").version == expected


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "3", '{"m": []}', '{"m": {"stable": ["x"]}}', '{"m": {"stable": 1}}', "\0"]
)
def test_a_damaged_history_is_named(model: Model, text: str) -> None:
    versions.promote(model, 1, "stable")
    file = model.config.parent / ".rawbert" / "labels.json"
    file.write_text(text, encoding="utf-8")
    for action in (
        versions.listed,
        lambda each: versions.rollback(each, "stable"),
        lambda each: versions.prune(each, 1),
    ):
        with pytest.raises(ModelConfigError, match=r"labels\.json is damaged .*; remove it"):
            action(model)
    publish(model, None, False)  # which has no need of it
    shutil.rmtree(model.folder / "6")
    file.unlink()
    assert versions.prune(model, 1).removed == (2, 3, 4)


def test_a_removed_version_is_forgotten(model: Model) -> None:
    for number in (1, 2, 3, 4):
        versions.promote(model, number, "stable")
    versions.prune(model, 1)
    assert history(model) == {"m": {"stable": [4, 3]}}


@pytest.mark.parametrize(
    "policy", ["", "model_version_policy { }", "model_version_policy { latest { num_versions: 0 } }"]
)
def test_prune_and_publish_work_under_odd_policies(model: Model, policy: str) -> None:
    label = 'version_labels { key: "stable" value: 2 }'
    text = f'model_config_list {{ config {{ name: "m" base_path: "/models/m" {policy} {label} }} }}'
    model.config.write_text(text, encoding="utf-8")
    publish(model, None, False)
    _, found = versions.listed(model)
    assert [each.number for each in found if each.loaded] == [6, 5, 4, 3, 2]
    assert versions.prune(model, 1).removed == (1, 3, 4, 5)
    assert numbers(model) == [2, 6]


def test_folder_names_are_read_as_tensorflow_serving_reads_them(model: Model) -> None:
    for name in ("007", "+8", "v9", "1.0", "9" * 30):
        (model.folder / name).mkdir()
    assert [each.number for each in versions.listed(model)[1]] == [8, 7, 5, 4, 3, 2, 1]
    assert versions.promote(model, 7, "stable").version == 7
    publish(model, None, False)
    assert (model.folder / "9").is_dir()
    assert versions.prune(model, 1).removed == (1, 2, 3, 4, 5, 8)
    assert not (model.folder / "+8").exists()
    assert (model.folder / "007").exists()


def test_the_number_after_the_last_is_refused(model: Model) -> None:
    (model.folder / str(2**63 - 1)).mkdir()
    with pytest.raises(OutputError, match="no version number is left"):
        publish(model, None, False)
    shutil.rmtree(model.folder)
    (model.folder / "-5").mkdir(parents=True)
    publish(model, None, False)
    assert (model.folder / "1").is_dir()


def test_an_export_adds_its_model_and_keeps_labels_loaded(data: Path, tmp_path: Path) -> None:
    from rawbert.exporter import ExportConfig, export

    settings = {"encoder": data / "tiny_bert", "output": tmp_path / "models" / "m", "signatures": ("tokenize",)}
    export(ExportConfig(**settings))
    model = find(str(tmp_path / "models" / "m"), Path())
    assert (config(model).name, config(model).base_path) == ("m", "/models/m")
    text = model.config.read_text(encoding="utf-8").replace(
        '"tensorflow"\n', '"tensorflow"\n model_version_policy { latest { num_versions: 1 } }\n'
    )
    model.config.write_text(text, encoding="utf-8")
    versions.promote(model, 1, "stable")
    with Staging(model.folder, None, False) as staging:
        assert versions.publish(staging, model.config, model.folder, "m", "/models") == (model.folder / "2", 2)
    assert config(model).model_version_policy.latest.num_versions == 2
    with Staging(model.folder, None, False) as staging:
        staging.publish()  # as with --no-models-config
    assert config(model).model_version_policy.latest.num_versions == 2
    name, found = versions.listed(model)
    assert name == "m"
    assert [(each.number, each.labels, each.loaded) for each in found] == [
        (3, (), True), (2, (), True), (1, ("stable",), False)
    ]  # fmt: skip
    assert (found[2].precision, found[2].source) == ("float32", str(data / "tiny_bert"))
    model.config.write_text("model_config_list {", encoding="utf-8")
    with pytest.raises(ModelConfigError):
        export(ExportConfig(**settings))
    assert numbers(model) == [1, 2, 3]


def publish(model: Model, version: int | None, force: bool) -> None:
    with Staging(model.folder, version, force) as staging:
        (staging.folder / "new").write_text("")
        versions.publish(staging, model.config, model.folder, "m", "/models")


@pytest.mark.parametrize("force", [False, True])
def test_an_interrupt_behind_the_rename_says_that_the_version_is_there(
    model: Model, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    def interrupted(folder: Path) -> None:
        if folder == model.folder:  # the base path: flushed when the version has its name
            raise KeyboardInterrupt

    monkeypatch.setattr(bundle, "_flush", interrupted)
    version = 5 if force else 6
    with pytest.raises(KeyboardInterrupt, match=f"^version {version} is published: {model.folder}/{version}$"):
        publish(model, version if force else None, force)
    assert (model.folder / str(version) / "new").exists()
    assert numbers(model) == list(range(1, version + 1))
    assert config(model).base_path == "/models/m"  # and a server is told of its model


def test_an_interrupt_before_the_rename_leaves_nothing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle, "_sync", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        publish(model, None, False)
    assert caught.value.args == ()
    assert numbers(model) == [1, 2, 3, 4, 5]
    assert not model.config.exists()


def test_a_model_that_no_server_is_told_of(model: Model) -> None:
    from rawbert.serving.cli.app import rawbert

    result = CliRunner().invoke(rawbert, ["versions", str(model.folder)])
    assert result.exit_code == 0
    assert "does not list the model, so servers do not load it" in result.output


def test_a_copied_model_is_one_of_its_own(model: Model) -> None:
    made = model.folder / "5" / "assets.extra" / "rawbert.json"
    made.parent.mkdir()
    made.write_text('{"name": "mine"}', encoding="utf-8")
    assert versions.promote(model, 5, "stable").model == "mine"
    copy = Model(Path(shutil.copytree(model.folder, model.folder.with_name("copy"))), model.config)
    assert versions.promote(copy, 4, "stable").model == "copy"
    assert {name: each.base_path for name, each in parsed(model.config.read_text(encoding="utf-8")).items()} == {
        "mine": "/models/m", "copy": "/models/copy"
    }  # fmt: skip


def test_a_model_whose_folder_is_gone_is_warned_of(model: Model) -> None:
    versions.promote(model, 5, "stable")
    assert warnings(model.config) == []
    with models_config.locked(model.config) as models:
        models.add("gone", "/models/gone")
        models.add("elsewhere", "/other/place")  # a path of the server's own
        models.save()
    (warning,) = warnings(model.config)
    assert "lists gone in /models/gone, but its folder is gone" in warning


def test_a_label_that_no_server_takes_is_warned_of(model: Model) -> None:
    versions.promote(model, 5, "stable")
    text = model.config.read_text(encoding="utf-8")
    model.config.write_text(text.replace("value: 5", "value: 9"), encoding="utf-8")
    (warning,) = warnings(model.config)
    assert "has the label stable of m at version 9, which does not exist" in warning
    text = text.replace("all {", "specific { versions: 1")
    model.config.write_text(text, encoding="utf-8")
    (warning,) = warnings(model.config)
    assert "at version 5, which its version policy does not load" in warning


def test_a_home_folder_that_is_none_is_a_wrong_usage(model: Model) -> None:
    from rawbert.serving.cli.app import rawbert

    for arguments in (["versions", "--models=~nouser/x"], ["versions", "~nouser"], ["promote", "~nouser/m", "1"]):
        result = CliRunner().invoke(rawbert, arguments)
        assert result.exit_code == 2
        assert "there is no such user" in result.output


def test_the_commands(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from rawbert.serving.cli.app import rawbert

    monkeypatch.chdir(model.folder.parents[1])
    Path("m").mkdir()  # what it was exported from, say

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(rawbert, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    assert run("promote", "m", "3") == "m: stable is now 3\n"
    assert run("promote", "models/m", "5", "--label", "stable") == "m: stable is now 5 (was 3)\n"
    assert run("rollback", "m") == "m: stable is now 3 (was 5)\n"
    assert run("prune", "m", "--keep", "2") == "kept     3: it is stable\nremoved  1, 2\n"
    found = json.loads(run("versions", "m", "--json"))["versions"]
    assert [(each["number"], each["labels"]) for each in found] == [(5, []), (4, []), (3, ["stable"])]
    assert "stable" in run("versions", "m")
    Path("models", "no model").mkdir()
    assert [each["model"] for each in json.loads(run("versions", "--json"))] == ["m"]
    assert "stable" in run("versions")
    assert json.loads(run("promote", "m", "4", "--json")) == {
        "model": "m", "label": "stable", "before": 3, "version": 4
    }  # fmt: skip
    assert json.loads(run("rollback", "m", "--json"))["version"] == 3
    assert run("prune", "m", "--keep", "1", "--dry-run") == "kept     3: it is stable\nwould go 4\n"
    assert json.loads(run("prune", "m", "--keep", "1", "--json")) == {"removed": [4], "kept": {"3": "it is stable"}}
    for wrong in (
        ["promote", "nope", "1"], ["promote", "m", "1"], ["rollback", "m", "--label", "x"], ["versions", "models/m/5"],
        ["versions", "--models", "m"], ["versions", "--models", "absent"],
    ):  # fmt: skip
        result = CliRunner().invoke(rawbert, wrong)
        assert result.exit_code == 1
        assert result.output.startswith("error: ")


WORKER = """
import random, sys, time
from pathlib import Path
from rawbert.exporter import ExportError
from rawbert.exporter.publish import versions
from rawbert.exporter.publish.bundle import Staging, folders_by_version
from rawbert.exporter.publish.models import Model
folder, seed, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
rng = random.Random(seed)
model = Model(folder, folder.parent / "models.config")
until, done = time.monotonic() + seconds, 0
while time.monotonic() < until:
    action = rng.choice(["export", "promote", "rollback", "prune"])
    label = rng.choice(["stable", "canary", f"own{seed}"])
    try:
        if action == "export":
            with Staging(folder, None, False) as staging:
                for part in range(3):
                    (staging.folder / f"part{part}").write_text("whole")
                _, number = versions.publish(staging, model.config, folder, "m", "/models")
            print("published", number, flush=True)
        elif action == "promote":
            number = rng.choice(sorted(folders_by_version(folder)) or [1])
            versions.promote(model, number, label)
        elif action == "rollback":
            versions.rollback(model, label)
        else:
            versions.prune(model, rng.randint(1, 6))
        done += 1
    except ExportError as error:
        assert any(part in str(error) for part in ("no version", "no label", "no model in", "no earlier")), error
print("done", done)
"""


def at_random(folder: Path, seconds: float) -> int:
    """Four processes, and a reader that checks the rules meanwhile; returns the number of successful actions."""
    config = folder.parent / "models.config"
    folder.mkdir(parents=True)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), str(seed), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        for seed in range(4)
    ]
    looks = 0
    while any(worker.poll() is None for worker in workers):
        time.sleep(0.005)
        if not config.exists():
            continue
        # Hold the lock while reading, so that the labels and the folder are of the same moment.
        with models_config.locked(config) as models:
            (found,) = parsed(models.text).values()
            present = {int(name) for name in os.listdir(folder) if name.isdigit()}
            assert set(found.version_labels.values()) <= present
            looks += 1
        for number in present:
            parts = set(os.listdir(folder / str(number))) if (folder / str(number)).is_dir() else None
            assert parts in (None, {"part0", "part1", "part2"})
        parsed(config.read_text(encoding="utf-8"))  # and without a lock, it parses
    outputs = [worker.communicate()[0].splitlines() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    published = [line for lines in outputs for line in lines if line.startswith("published")]
    assert len(published) == len(set(published))
    assert looks > 10
    assert [name for name in os.listdir(folder) if not name.isdigit()] == []
    return sum(int(lines[-1].split()[1]) for lines in outputs)


def test_four_processes_at_random(tmp_path: Path) -> None:
    assert at_random(tmp_path / "models" / "m", 4) > 20


@pytest.mark.slow
def test_four_processes_at_random_for_two_minutes(tmp_path: Path) -> None:
    actions = at_random(tmp_path / "models" / "m", 120)
    print(f"{actions} actions")
    assert actions > 1000


EXPORTER = """
import sys
from pathlib import Path
from rawbert.exporter.publish import versions
from rawbert.exporter.publish.bundle import Staging
folder = Path(sys.argv[1])
with Staging(folder, None, False) as staging:
    print("began", flush=True)
    for part in range(40):
        (staging.folder / f"part{part}").write_bytes(b"whole" * 20000)
    versions.publish(staging, folder.parent / "models.config", folder, "m", "/models")
print("published", flush=True)
"""


def killed_at_random(folder: Path, times: int) -> int:
    """Exports that are killed while a reader polls; returns the number of successful ones."""
    rng = random.Random(0)
    whole = {f"part{part}" for part in range(40)}
    folder.mkdir(parents=True)
    published = 0
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, "-c", EXPORTER, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        until = time.monotonic() + rng.uniform(0, 0.25)
        while time.monotonic() < until and process.poll() is None:
            look(folder, whole)
        process.kill()
        published += "published" in process.communicate()[0]
        look(folder, whole)
    with Staging(folder, None, False):
        hidden = [name for name in os.listdir(folder) if name.startswith(".rawbert-")]
        assert len(hidden) == 2, hidden  # its own folder and lock: what the killed ones left is gone
    assert all(name.isdigit() for name in os.listdir(folder))
    assert len(os.listdir(folder)) >= published
    return published


def look(folder: Path, whole: set[str]) -> None:
    for name in os.listdir(folder):
        if name.isdigit():
            assert set(os.listdir(folder / name)) == whole
            assert all(path.stat().st_size == 100_000 for path in (folder / name).iterdir())
    if (folder.parent / "models.config").exists():
        parsed((folder.parent / "models.config").read_text(encoding="utf-8"))


def test_killed_publications_leave_nothing_partial(tmp_path: Path) -> None:
    killed_at_random(tmp_path / "models" / "m", 12)


@pytest.mark.slow
def test_a_hundred_killed_publications_leave_nothing_partial(tmp_path: Path) -> None:
    published = killed_at_random(tmp_path / "models" / "m", 100)
    print(f"{published} of 100 were published before they were killed")
    assert 0 < published < 100


#: Progress lines of the command (on standard error), and the maximum delay of a kill after them in seconds. Half of the
#: kills are in the short step of publishing, which has the most risks.
STEPS = (
    ("", 6.0), ("- reading", 2.0), ("- loading", 8.0), ("- building", 2.0), ("- writing", 2.0), ("- verifying", 10.0),
    *[("- publishing", each) for each in (0.05, 0.1, 0.15, 0.25, 0.4, 1.0)],
)  # fmt: skip


def wait_for(line: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and line not in log.read_text(encoding="utf-8"):
        time.sleep(0.002)


class Reader(threading.Thread):
    """Polls a base path and its models.config like a server; ``wrong`` lists forbidden states that it saw."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.looks, self.stop = folder, 0, threading.Event()
        self.seen: dict[str, Any] = {}
        self.wrong: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.wait(0.002):
                self.look()
        except BaseException as error:
            self.wrong = error

    def look(self) -> None:
        for name in os.listdir(self.folder):
            if name.isdigit():
                paths = (path for path in sorted((self.folder / name).rglob("*")) if path.is_file())
                state = [(path.relative_to(self.folder / name).as_posix(), path.stat().st_size) for path in paths]
                # A version never changes after its first appearance.
                assert state == self.seen.setdefault(name, state), name
        config = self.folder.parent / "models.config"
        if config.exists():
            parsed(config.read_text(encoding="utf-8"))
            assert self.seen, "models.config names a model without versions"
        self.looks += 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(10))
def test_a_hundred_killed_exports_leave_nothing_partial(data: Path, tmp_path: Path, part: int) -> None:
    """The command on a tiny model, ten times per step: killed in every step, alone or together with its child."""
    folder, log = tmp_path / "models" / "m", tmp_path / "log"
    folder.mkdir(parents=True)
    command = [str(Path(sys.executable).with_name("rawbert")), "export", str(data / "tiny_bert"), "-o", str(folder)]
    command += ["--signatures", "tokenize"]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    rng = random.Random(part)
    reader = Reader(folder)
    reader.start()
    ended = 0
    for kill in range(10):
        step, longest = STEPS[(10 * part + kill) % len(STEPS)]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True
            )
        wait_for(step, log, process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, longest))
        if process.poll() is None:
            (os.killpg if rng.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
        assert process.wait() in (0, -signal.SIGKILL), log.read_text(encoding="utf-8")
        ended += process.returncode == 0
    published = len(reader.seen)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    reader.stop.set()
    reader.join()
    assert reader.wrong is None, reader.wrong
    print(f"10 exports, {ended} ended before the kill; {published} versions; looked at {reader.looks} times")
    assert published >= ended
    assert reader.looks > 100
    assert all(name.isdigit() for name in os.listdir(folder)), os.listdir(folder)
    for name in os.listdir(folder):  # each is whole: its own hash is what its manifest says
        saved_model = SavedModel.FromString((folder / name / "saved_model.pb").read_bytes())
        made = json.loads((folder / name / "assets.extra" / "rawbert.json").read_text(encoding="utf-8"))
        assert content_hash(folder / name, saved_model.meta_graphs[0]) == made["content_hash"]
        assert [file for file, _ in reader.seen[name]] == [file for file, _ in reader.seen[str(published + 1)]]
    assert set(parsed((folder.parent / "models.config").read_text(encoding="utf-8"))) == {"m"}
    assert sorted(os.listdir(folder.parent)) == [".models.config.lock", "m", "models.config"]
    assert [name for name in os.listdir(temporary) if "rawbert" in name] == []
