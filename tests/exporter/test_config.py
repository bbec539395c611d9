from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from rawbert.exporter import ConfigError, ExportConfig, ExportError


def test_defaults_take_everything_from_the_checkpoint():
    config = ExportConfig(encoder="a", output="b")
    assert (config.version, config.max_seq_length, config.signatures, config.pooling, config.normalize) == (None,) * 5
    assert (config.encoder_impl, config.force) == ("auto", False)
    assert config.allowed == (1e-5, 0.99999)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"encoder": ""}, "encoder"),
        ({"output": ""}, "output"),
        ({"version": -1}, "version"),
        ({"version": 2**63}, "version"),
        ({"output": "/"}, "name is empty"),
        ({"output": "models/it's"}, "name"),
        ({"output": "models/a\nb", "name": "m"}, "output"),
        ({"output": os.fsdecode(b"models/\xff")}, "name"),
        ({"name": 'a"b'}, "name"),
        ({"max_seq_length": 2}, "max_seq_length"),
        ({"encoder_impl": "keras"}, "'keras'"),
        ({"precision": "int8"}, "'int8'"),
        ({"precision": "bfloat16", "encoder_impl": "hub"}, "native"),
        ({"signatures": ()}, "signatures"),
        ({"signatures": ("pooled", "sequences")}, "'sequences'"),
        ({"signatures": ("serving_default",)}, "'serving_default'"),
        ({"pooling": "median"}, "'median'"),
        ({"name": "  "}, "name"),
        ({"output": "~nouser/models/m"}, "output is '~nouser/models/m'"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"min_cosine": 1.1}, "min_cosine"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(settings: dict, named: str):
    with pytest.raises(ConfigError, match=named) as caught:
        ExportConfig(**{"encoder": "a", "output": "b", **settings})
    assert isinstance(caught.value, ExportError)
    assert isinstance(caught.value, ValueError)


def test_a_lower_precision_has_limits_of_its_own():
    assert ExportConfig(encoder="a", output="b", precision="bfloat16").allowed[1] == 0.9995
    assert ExportConfig(encoder="a", output="b", precision="float16", min_cosine=0.9).allowed[1] == 0.9


def test_the_name_is_that_of_the_folder_that_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for output in ("m", "x/../m", "./m/", str(tmp_path / "m")):
        config = ExportConfig(encoder="a", output=output)
        assert (config.model_name, config.base_path) == ("m", tmp_path / "m")
    assert ExportConfig(encoder="a", output=".").model_name == tmp_path.name


def test_the_shortest_useful_sequence_is_accepted():
    assert ExportConfig(encoder="a", output="b", max_seq_length=3).max_seq_length == 3


def test_a_config_is_frozen_hashable_and_equal_by_value():
    config = ExportConfig(encoder="a", output="b", signatures=["embed"])  # a list is taken too
    assert config == ExportConfig(encoder="a", output="b", signatures=("embed",))
    assert hash(config) == hash(dataclasses.replace(config))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.version = 1


def test_the_model_is_named_after_its_base_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    config = ExportConfig(encoder="a", output="models/bert/")
    assert (config.base_path, config.model_name) == (tmp_path / "models" / "bert", "bert")
    assert dataclasses.replace(config, name="other").model_name == "other"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ExportConfig(encoder="a", output="~/models").base_path == tmp_path / "models"
