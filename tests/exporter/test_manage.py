"""Versions and labels: what the commands do, and four processes that do it at random at the same time."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rawbert.exporter import ModelConfigError, manage, modelconfig
from rawbert.exporter.bundle import Staging
from test_modelconfig import models as parsed


@pytest.fixture
def model(tmp_path: Path) -> manage.Model:
    """A model with five versions, as far as anything here looks into them."""
    folder = tmp_path / "models" / "m"
    for number in range(1, 6):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "saved_model.pb").write_bytes(b"x" * number)
    return manage.find(str(folder), Path())


def config(model: manage.Model) -> Any:
    (found,) = parsed(model.config.read_text(encoding="utf-8")).values()
    return found


def numbers(model: manage.Model) -> list[int]:
    return sorted(int(name) for name in os.listdir(model.folder))


def test_promote_and_roll_back(model: manage.Model) -> None:
    assert manage.promote(model, 2, "stable").before is None
    assert manage.promote(model, 2, "stable").before == 2
    manage.promote(model, 4, "stable")
    manage.promote(model, 5, "canary")
    assert dict(config(model).version_labels) == {"stable": 4, "canary": 5}
    assert config(model).base_path == "/models/m"
    manage.promote(model, 5, "stable")
    assert [manage.rollback(model, "stable").version for _ in range(2)] == [4, 2]
    with pytest.raises(ModelConfigError, match="was nowhere before"):
        manage.rollback(model, "stable")
    with pytest.raises(ModelConfigError, match="no label nope"):
        manage.rollback(model, "nope")
    with pytest.raises(ModelConfigError, match="no version 9; there are: 1, 2, 3, 4, 5"):
        manage.promote(model, 9, "stable")
    assert dict(config(model).version_labels) == {"stable": 2, "canary": 5}


def test_prune_spares_labels_rollbacks_and_the_newest(model: manage.Model) -> None:
    manage.promote(model, 1, "stable")
    manage.promote(model, 2, "stable")
    manage.promote(model, 3, "stable")
    pruned = manage.prune(model, 1)
    assert pruned.removed == (1, 4)
    assert pruned.kept == {2: "a rollback of stable goes there", 3: "it is stable"}
    assert numbers(model) == [2, 3, 5]
    assert manage.rollback(model, "stable").version == 2
    assert manage.prune(model, 1).removed == (3,)
    with pytest.raises(ValueError, match="keep is 0"):
        manage.prune(model, 0)


def test_a_policy_of_one_s_own_stands(model: manage.Model) -> None:
    model.config.write_text(
        'model_config_list { config { name: "mine" base_path: "/srv/m" model_platform: "tensorflow"\n'
        "model_version_policy { specific { versions: 2 versions: 3 versions: 1 } } } }",
        encoding="utf-8",
    )
    with pytest.raises(ModelConfigError, match=r"\(specific\) does not load version 5"):
        manage.promote(model, 5, "stable")
    manage.promote(model, 3, "stable")
    manage.prune(model, 1)
    assert list(config(model).model_version_policy.specific.versions) == [3]
    assert (config(model).name, config(model).base_path) == ("mine", "/srv/m")


def test_an_export_adds_its_model_and_keeps_labels_loaded(data: Path, tmp_path: Path) -> None:
    from rawbert.exporter import ExportConfig, export

    settings = {"encoder": data / "tiny_bert", "output": tmp_path / "models" / "m", "signatures": ("tokenize",)}
    export(ExportConfig(**settings))
    model = manage.find(str(tmp_path / "models" / "m"), Path())
    assert (config(model).name, config(model).base_path) == ("m", "/models/m")
    text = model.config.read_text(encoding="utf-8").replace(
        '"tensorflow"\n', '"tensorflow"\n model_version_policy { latest { num_versions: 1 } }\n'
    )
    model.config.write_text(text, encoding="utf-8")
    manage.promote(model, 1, "stable")
    with Staging(model.folder, None, False) as staging:
        assert manage.publish(staging, model.config, model.folder, "m", "/models") == (model.folder / "2", 2)
    assert config(model).model_version_policy.latest.num_versions == 2
    with Staging(model.folder, None, False) as staging:
        staging.publish()  # as with --no-models-config
    assert config(model).model_version_policy.latest.num_versions == 2
    name, found = manage.versions(model)
    assert name == "m"
    assert [(each.number, each.labels, each.loaded) for each in found] == [
        (3, (), True), (2, (), True), (1, ("stable",), False)
    ]  # fmt: skip
    model.config.write_text("model_config_list {", encoding="utf-8")
    with pytest.raises(ModelConfigError):
        export(ExportConfig(**settings))
    assert numbers(model) == [1, 2, 3]


def test_the_commands(model: manage.Model, monkeypatch: pytest.MonkeyPatch) -> None:
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
    for wrong in (["promote", "nope", "1"], ["promote", "m", "1"], ["rollback", "m", "--label", "x"]):
        result = CliRunner().invoke(rawbert, wrong)
        assert result.exit_code == 1
        assert result.output.startswith("error: ")


WORKER = """
import random, sys, time
from pathlib import Path
from rawbert.exporter import ExportError, manage
from rawbert.exporter.bundle import Staging
folder, seed, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
rng = random.Random(seed)
model = manage.Model(folder, folder.parent / "models.config")
until, done = time.monotonic() + seconds, 0
while time.monotonic() < until:
    action = rng.choice(["export", "promote", "rollback", "prune"])
    label = rng.choice(["stable", "canary", f"own{seed}"])
    try:
        if action == "export":
            with Staging(folder, None, False) as staging:
                for part in range(3):
                    (staging.folder / f"part{part}").write_text("whole")
                _, number = manage.publish(staging, model.config, folder, "m", "/models")
            print("published", number, flush=True)
        elif action == "promote":
            from rawbert.exporter import bundle
            number = rng.choice(sorted(bundle.versions(folder)) or [1])
            manage.promote(model, number, label)
        elif action == "rollback":
            manage.rollback(model, label)
        else:
            manage.prune(model, rng.randint(1, 6))
        done += 1
    except ExportError as error:
        assert any(part in str(error) for part in ("no version", "no label", "no model in", "nowhere before")), error
print("done", done)
"""


def at_random(folder: Path, seconds: float) -> int:
    """Four processes; what a reader sees meanwhile is held to the rules. How many actions succeeded."""
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
        # Held while looking, or the labels and the folder would be of two moments.
        with modelconfig.locked(config) as models:
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
from rawbert.exporter import manage
from rawbert.exporter.bundle import Staging
folder = Path(sys.argv[1])
with Staging(folder, None, False) as staging:
    print("began", flush=True)
    for part in range(40):
        (staging.folder / f"part{part}").write_bytes(b"whole" * 20000)
    manage.publish(staging, folder.parent / "models.config", folder, "m", "/models")
print("published", flush=True)
"""


def killed_at_random(folder: Path, times: int) -> int:
    """Exports that are killed, while a reader polls; how many came through."""
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


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_hundred_killed_exports_leave_nothing_partial(data: Path, tmp_path: Path) -> None:
    """The command itself, tiny: killed at any moment from its start to its end."""
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    source = tmp_path / "source"
    shutil.copytree(data / "tiny_bert", source)
    command = [str(Path(sys.executable).with_name("rawbert")), "export", str(source), "-o", str(folder)]
    began = time.monotonic()
    subprocess.run([*command, "--signatures", "tokenize"], check=True, capture_output=True)
    whole = time.monotonic() - began
    rng = random.Random(1)
    published = 0
    expected = {path.relative_to(folder / "1") for path in (folder / "1").rglob("*")}
    for _ in range(100):
        process = subprocess.Popen(
            [*command, "--signatures", "tokenize"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + rng.uniform(0, 1.1 * whole)
        while time.monotonic() < until and process.poll() is None:
            for name in os.listdir(folder):
                if name.isdigit():
                    assert {path.relative_to(folder / name) for path in (folder / name).rglob("*")} == expected
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, 9)
        published += process.wait() == 0
    print(f"{published} of 100 were published before they were killed")
    subprocess.run([*command, "--signatures", "tokenize"], check=True, capture_output=True)
    assert all(name.isdigit() for name in os.listdir(folder))
