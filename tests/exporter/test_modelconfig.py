"""models.config: what is written parses with the official protos, and what people wrote stays as it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rawbert.exporter import ModelConfigError
from rawbert.exporter.publish import models_config, textproto
from rawbert.exporter.publish.models_config import ModelConfig

PATH = Path("models.config")

HAND = """# our models, ask ops before you change this
model_config_list: {
  config <  # angle brackets are legal
    name: 'first' base_path: "/models/first", model_platform: "tensorflow";
    version_labels { key: "stable" value: 2 } version_labels: { value: 1, key: 'can\\x61ry' }
    model_version_policy { specific { versions: 1  # pinned
      versions: 2 } }
    logging_config { sampling_config { sampling_rate: 0.1 } }
  >
  config: [ { name: "se" "cond" base_path: "/other/place/second" model_platform: "tensorflow" },
            { name: "#third" base_path: "/models/third" model_platform: "tensorflow"
              model_version_policy { latest { num_versions: 1 } } version_labels { key: "stable" value: 7 } } ]
}
"""


def official(text: str) -> Any:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def models(text: str) -> dict[str, Any]:
    return {config.name: config for config in official(text).model_config_list.config}


def test_a_file_from_nothing() -> None:
    config = ModelConfig(PATH, "")
    assert config.entries() == []
    config.add("minilm", "/models/minilm")
    config.add('odd "name"\\ é\n', "/models/odd")
    config.label("minilm", "stable", 3, ())
    config.label("minilm", "canary", 4, (3, 2))
    found = models(config.text)
    assert found.keys() == {"minilm", 'odd "name"\\ é\n'}
    assert dict(found["minilm"].version_labels) == {"stable": 3, "canary": 4}
    assert found["minilm"].model_platform == "tensorflow"
    assert found["minilm"].model_version_policy.WhichOneof("policy_choice") == "all"
    assert not found['odd "name"\\ é\n'].HasField("model_version_policy")
    entry = ModelConfig(PATH, config.text).find("minilm")
    assert entry is not None
    assert entry.before == {"canary": (3, 2), "stable": ()}


def test_what_people_wrote_is_understood() -> None:
    first, second, third = ModelConfig(PATH, HAND).entries()
    assert (first.name, first.labels, first.policy, first.specific) == (
        "first", {"stable": 2, "canary": 1}, "specific", (1, 2)
    )  # fmt: skip
    assert (second.name, second.base_path, second.has_policy) == ("second", "/other/place/second", False)
    assert (third.name, third.policy, third.count) == ("#third", "latest", 1)


def test_a_change_touches_nothing_else() -> None:
    config = ModelConfig(PATH, HAND)
    config.label("first", "stable", 1, (2,))
    config.label("first", "canary", 2, (1,))
    config.label("second", "stable", 5, ())
    config.label("#third", "stable", 8, (7,))
    config.add("fourth", "/models/fourth")
    before, after = models(HAND), models(config.text)
    assert dict(after["first"].version_labels) == {"stable": 1, "canary": 2}
    assert dict(after["second"].version_labels) == {"stable": 5}
    assert dict(after["#third"].version_labels) == {"stable": 8}
    for name in before:
        for field in ("base_path", "model_platform", "logging_config"):
            assert getattr(after[name], field) == getattr(before[name], field)
        if name != "second":
            assert after[name].model_version_policy == before[name].model_version_policy
    for comment in re.findall(r"#[^\n\"]*", HAND):
        assert comment in config.text
    # Without what was added, every line is as it was.
    again = ModelConfig(PATH, config.text)
    assert [entry.before for entry in again.entries()[:3]] == [
        {"canary": (1,), "stable": (2,)}, {"stable": ()}, {"stable": (7,)}
    ]  # fmt: skip
    again.label("first", "stable", 2, ())
    assert models(again.text)["first"].version_labels["stable"] == 2
    assert ModelConfig(PATH, again.text).entries()[0].before["stable"] == ()


def test_removed_versions_are_forgotten() -> None:
    config = ModelConfig(PATH, HAND)
    config.label("first", "stable", 2, (1, 2))
    config.forget("first", {1})
    assert list(models(config.text)["first"].model_version_policy.specific.versions) == [2]
    entry = config.find("first")
    assert entry is not None
    assert entry.before["stable"] == (2,)


def test_a_latest_policy_keeps_what_is_labelled() -> None:
    config = ModelConfig(PATH, HAND)
    assert config.keep_loaded("#third", [5, 7, 8, 9]) == [7]
    assert models(config.text)["#third"].model_version_policy.latest.num_versions == 3
    assert config.keep_loaded("#third", [5, 7, 8, 9]) == []
    assert config.keep_loaded("second", [1, 2]) == []


@pytest.mark.parametrize(
    "text",
    [
        "model_config_list {",
        "model_config_list { config { name: 'a' } } }",
        "model_config_list { config { nome: 'a' } }",
        "model_config_list { config { name: 'a } }",
        "model_config_list { config { name: } }",
        "\x00",
        "][",
    ],
)
def test_a_file_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ModelConfigError, match="is no ModelServerConfig"):
        ModelConfig(PATH, text)


@pytest.mark.parametrize("label", ["", "a b", "é", 'a"', "-a", "a\n"])
def test_a_label_that_is_none_is_refused(label: str) -> None:
    config = ModelConfig(PATH, HAND)
    with pytest.raises(ModelConfigError, match="is no label"):
        config.label("first", label, 1, ())
    assert config.text == HAND


def test_what_would_not_mean_what_was_intended_is_refused() -> None:
    """The spans are found by our own reader: protobuf has the last word on what they did."""
    config = ModelConfig(PATH, HAND)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "_label_field", lambda field, label: None)  # as if the label were not found
        patch.setattr(ModelConfig, "_inserted", lambda self, span, lines, text=None: self.text)
        with pytest.raises(ModelConfigError, match="by hand"):
            config.label("first", "stable", 9, ())
    assert config.text == HAND


def test_saving_keeps_links_and_modes(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "models.config"
    real.write_text(HAND, encoding="utf-8")
    real.chmod(0o640)
    link.symlink_to(real)
    with models_config.locked(link) as config:
        config.add("new", "/models/new")
        config.save()
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "new" in models(real.read_text(encoding="utf-8"))


def test_spans() -> None:
    text = "a { b: 'x' 'y' c: [ <d: 1>, {d: 2} ] } [ext.name]: 3"
    root = textproto.parse(text)
    (a,) = root.get("a")
    assert text[slice(*next(a.get("b")).value)] == "'x' 'y'"
    assert [text[slice(*next(each.get("d")).value)] for each in a.get("c")] == ["1", "2"]
