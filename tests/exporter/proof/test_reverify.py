"""rawbert verify: versions and servers are compared with the reference of the export, and faults are found again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result


def run(*arguments: Any) -> Result:
    from rawbert.serving.cli.app import rawbert

    return CliRunner().invoke(rawbert, ["verify", *map(str, arguments)])


@pytest.fixture(scope="module")
def server(tiny_bundle: Any) -> Iterator[Any]:
    from rawbert.serving.server import EmbeddedServer

    with EmbeddedServer("bert", tiny_bundle.base_path) as server:
        yield server


def test_a_version_without_its_source(tiny_bundle: Any) -> None:
    result = run(tiny_bundle.base_path)
    assert result.exit_code == 0, result.output
    assert "embed.embedding" in result.output.replace("\n", "")
    assert "the answers stored at the export" in result.output
    assert "differs" not in result.output


def test_a_version_with_its_source(hub_native_bundle: Any, data: Path) -> None:
    result = run(hub_native_bundle.path, "--source", data / "hub_bert", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["texts"] >= 20
    assert report["mismatches"] == []
    assert report["outputs"].keys() == {"pooled.pooled_output", "sequence.sequence_output"}


def test_a_damaged_version_is_found(tiny_bundle: Any, hub_native_bundle: Any, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle.path, tmp_path / "1")
    weights = tmp_path / "1" / "variables" / "variables.data-00000-of-00001"
    raw = bytearray(weights.read_bytes())
    raw[len(raw) // 2] ^= 0x40
    weights.write_bytes(raw)
    result = run(tmp_path)
    assert result.exit_code == 1, result.output
    assert "differs" in result.output or "failed to run" in result.output
    # The answers of another model are not its reference.
    file = Path("assets.extra", "verification.npz")
    shutil.copytree(tiny_bundle.path, tmp_path / "2")
    shutil.copy(hub_native_bundle.path / file, tmp_path / "2" / file)
    assert run(tmp_path / "2").exit_code == 1


def test_an_edit_that_is_smaller_than_the_tolerance_is_found(tiny_bundle: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    shutil.copytree(tiny_bundle.path, tmp_path / "1")
    # Written by an older rawbert, whose graph hash cannot be compared with the current one.
    manifest = tmp_path / "1" / "assets.extra" / "rawbert.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"v3:', '"v2:0'), encoding="utf-8")
    assert run(tmp_path / "1").exit_code == 0
    prefix = str(tmp_path / "1" / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    tensors = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    (key,) = (key for key in tensors if "embeddings.Sword" in key)
    tensors[key][5] *= 1 + 1e-7
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=list(tensors), shape_and_slices=[""] * len(tensors), tensors=list(tensors.values())
    )
    result = run(tmp_path / "1", "--json")
    assert result.exit_code == 1
    (line,) = json.loads(result.output)["mismatches"]
    assert line.startswith("weights: the hash is ")


def test_a_server_is_held_to_it_without_tensorflow(server: Any, tiny_bundle: Any) -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfor name in ('tensorflow', 'transformers', 'tensorflow_text'): sys.modules[name] = None\n"
        f"sys.argv = ['rawbert', 'verify', {str(tiny_bundle.path)!r}, '--address', {server.address!r}]\n"
        "from rawbert.serving.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr + result.stdout
    assert "equal" in result.stdout


def test_a_server_that_answers_otherwise_is_found(server: Any, hub_native_bundle: Any, tiny_bundle: Any) -> None:
    result = run(hub_native_bundle.path, "--address", server.address)
    assert result.exit_code == 1
    assert "signatures are" in result.output
    result = run(tiny_bundle.path, "--address", server.address, "--tolerance", "1e-12")
    assert result.exit_code == 1
    assert "is off by" in result.output
    assert run(tiny_bundle.path, "--address", server.address, "--tf32").exit_code == 0
    result = run(tiny_bundle.path, "--address", server.address, "--version", 9)
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert run(tiny_bundle.path, "--address", server.address, "--model", "nope").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--label", "stable"], 2, "give --address too"),
        (["--address", "localhost:1", "--source", "x"], 2, "leave --source out"),
        (["--address", "localhost:1", "--version", "1", "--label", "a"], 2, "not both"),
        (["--address", "127.0.0.1:1", "--timeout", "2"], 1, "could not be compared"),
        (["--source", "/nowhere"], 1, "/nowhere"),
    ],
)
def test_wrong_usage(tiny_bundle: Any, arguments: list[str], code: int, message: str) -> None:
    result = run(tiny_bundle.path, *arguments)
    assert result.exit_code == code, result.output
    assert message in result.output


def test_what_is_no_version(tiny_bundle: Any, tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "and contains none" in result.output
    shutil.copytree(tiny_bundle.path, tmp_path / "1")
    (tmp_path / "1" / "assets.extra" / "verification.npz").unlink()
    assert "--source" in run(tmp_path).output
    (tmp_path / "1" / "assets.extra" / "rawbert.json").write_text('{"format": 1}', encoding="utf-8")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "export the model again" in result.output.replace("\n", " ")
