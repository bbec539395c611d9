"""models.config: the written file parses with the official protos, and people's own text stays."""

from __future__ import annotations

import contextlib
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rawbert.exporter import ModelConfigError
from rawbert.exporter.publish import models_config
from rawbert.exporter.publish.models_config import ModelsConfig

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


#: The form of TensorFlow Serving's documentation, and of rawbert.
PLAIN = """\
# our models, ask ops before you change this

model_config_list {
  # the German one
  config {
    name: "first"   # not "second"
    base_path: "/models/first"
    model_platform: "tensorflow"
    model_version_policy {
      specific {
        versions: 1  # pinned
        versions: 2
      }
    }
    version_labels {
      key: "stable"
      value: 2  # since May
    }
  }

    config {
    name: "#second"
    base_path: "/models/second"
    model_platform: "tensorflow"
  }
  # the last one
}
# end
"""


def official(text: str) -> Any:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def models(text: str) -> dict[str, Any]:
    return {config.name: config for config in official(text).model_config_list.config}


def test_a_file_from_nothing() -> None:
    config = ModelsConfig(PATH, "")
    assert config.entries() == []
    config.add("minilm", "/models/minilm")
    config.add('odd "name"\\ é\n', "/models/odd")
    config.label("minilm", "stable", 3)
    config.label("minilm", "canary", 4)
    assert config.text.startswith("# Models that TensorFlow Serving loads")
    found = models(config.text)
    assert found.keys() == {"minilm", 'odd "name"\\ é\n'}
    assert dict(found["minilm"].version_labels) == {"stable": 3, "canary": 4}
    assert found["minilm"].model_platform == "tensorflow"
    assert found["minilm"].model_version_policy.WhichOneof("policy_choice") == "all"
    assert not found['odd "name"\\ é\n'].HasField("model_version_policy")


def test_a_file_of_comments_alone_keeps_them_at_the_top() -> None:
    config = ModelsConfig(PATH, "# ask ops\n# first\n")
    config.add("m", "/models/m")
    assert config.text.startswith("# ask ops\n# first\nmodel_config_list {\n")


def test_what_people_wrote_is_understood() -> None:
    first, second, third = ModelsConfig(PATH, HAND).entries()
    assert (first.name, first.labels, first.policy, first.specific) == (
        "first", {"stable": 2, "canary": 1}, "specific", (1, 2)
    )  # fmt: skip
    assert (second.name, second.base_path, second.has_policy) == ("second", "/other/place/second", False)
    assert (third.name, third.policy, third.count) == ("#third", "latest", 1)


def test_lines_that_do_not_change_stay_as_they_are() -> None:
    config = ModelsConfig(PATH, PLAIN)
    assert config.text == PLAIN
    config.label("first", "stable", 1)
    assert config.text == PLAIN.replace("      value: 2  # since May", "      value: 1  # since May")
    config.add("third", "/models/third")
    config.label("#second", "canary", 7)
    assert [line for line in config.text.split("\n") if line not in PLAIN.split("\n")] == [
        "      value: 1  # since May", "      all {", '      key: "canary"', "      value: 7",
        '    name: "third"', '    base_path: "/models/third"',
    ]  # fmt: skip
    assert [line for line in PLAIN.split("\n") if line not in config.text.split("\n")] == [
        "      value: 2  # since May"
    ]


def test_another_layout_becomes_protobuf_s_and_loses_no_comment() -> None:
    config = ModelsConfig(PATH, HAND)
    config.label("first", "stable", 1)
    config.label("first", "canary", 2)
    config.label("second", "stable", 5)
    config.label("#third", "stable", 8)
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
        assert config.text.count(comment) == 1
    assert ModelsConfig(PATH, config.text).text == config.text


def test_comments_at_random_places_are_kept_and_change_no_meaning() -> None:
    rng = random.Random(1)
    for _ in range(300):
        comments = [f"# note {number} {{ }} ' \"" for number in range(rng.randint(0, 6))]
        lines = rng.choice([PLAIN, HAND]).split("\n")
        for comment in comments:
            at = rng.randrange(len(lines))
            if rng.random() < 0.5:
                lines.insert(at, rng.choice(["", "    "]) + comment)
            elif "#" not in lines[at]:
                lines[at] += " " + comment
            else:
                lines.insert(at, comment)
        config = ModelsConfig(PATH, "\n".join(lines))
        wanted = official("\n".join(lines))
        for _ in range(rng.randint(0, 3)):
            label, version = rng.choice(["stable", "canary", "new"]), rng.randint(0, 9)
            entry = rng.choice(wanted.model_config_list.config)
            config.label(entry.name, label, version)
            entry.version_labels[label] = version
            if entry.model_version_policy.WhichOneof("policy_choice") is None:
                entry.model_version_policy.all.SetInParent()
        if rng.random() < 0.3:
            config.add("new", "/models/new")
            wanted.model_config_list.config.add(name="new", base_path="/models/new", model_platform="tensorflow")
        assert official(config.text) == wanted
        assert all(config.text.count(comment) == 1 for comment in comments)


def test_a_latest_policy_keeps_what_is_labelled() -> None:
    config = ModelsConfig(PATH, HAND)
    assert config.keep_loaded("#third", [5, 7, 8, 9])
    assert models(config.text)["#third"].model_version_policy.latest.num_versions == 3
    assert not config.keep_loaded("#third", [5, 7, 8, 9])
    assert not config.keep_loaded("second", [1, 2])


@pytest.mark.parametrize(
    ("policy", "loads"),
    [
        ("", {5}),
        ("model_version_policy { }", {5}),
        ("model_version_policy < >", {5}),
        ("model_version_policy { latest { } }", {5}),
        ("model_version_policy { latest { num_versions: 0 } }", {5}),
        ("model_version_policy { latest { num_versions: 4294967295 } }", {1, 3, 5}),
        ("model_version_policy { all { } }", {1, 3, 5}),
        ("model_version_policy { specific { } }", set()),
        ("model_version_policy { specific { versions: [1, 4, 1] } }", {1}),
    ],
)
@pytest.mark.parametrize("label", ["", 'version_labels { key: "stable" value: 1 }', 'version_labels { key: "stable" }'])
def test_every_policy_is_read_and_kept(policy: str, loads: set[int], label: str) -> None:
    text = f'model_config_list {{ config {{ name: "m" base_path: "/models/m" {label} {policy} }} }}'
    config = ModelsConfig(PATH, text)
    (entry,) = config.entries()
    assert entry.loads([1, 3, 5]) == loads
    config.keep_loaded("m", [1, 3, 5])
    if entry.policy == "latest" and entry.labels.get("stable") == 1:
        assert config.entries()[0].loads([1, 3, 5]) == {1, 3, 5}
    before = official(config.text).model_config_list.config[0].model_version_policy
    config.label("m", "stable", 3)
    after = models(config.text)["m"]
    assert dict(after.version_labels) == {"stable": 3}
    if before.WhichOneof("policy_choice"):
        assert after.model_version_policy == before
    else:
        assert after.model_version_policy.WhichOneof("policy_choice") == "all"


@pytest.mark.parametrize(
    "text",
    [
        "model_config_list {",
        "model_config_list { config { name: 'a' } } }",
        "model_config_list { config { nome: 'a' } }",
        "model_config_list { config { name: 'a } }",
        "model_config_list { config { name: } }",
        "model_config_list { config { model_version_policy { latest { num_versions: -1 } } } }",
        "model_config_list { config { version_labels { key: 'a' value: 99999999999999999999 } } }",
        "model_config_list { config { model_version_policy { all {} specific {} } } }",
        "model_config_list {} model_config_list {}",
        "custom_model_config { [type.googleapis.com/nope.Nope] { } }",
        "model_config_list " + "{ config " * 5000,
        "\x00",
        "][",
    ],
)
def test_a_file_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ModelConfigError, match="is not a ModelServerConfig"):
        ModelsConfig(PATH, text)


def test_garbage_is_refused(tmp_path: Path) -> None:
    rng = random.Random(2)
    file = tmp_path / "models.config"
    for _ in range(300):
        data = bytearray(PLAIN.encode())
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        file.write_bytes(data)
        with contextlib.suppress(ModelConfigError):
            read = models_config.read(file).text
            assert official(read) == official(file.read_text(encoding="utf-8"))


def test_a_model_that_is_listed_twice_is_refused() -> None:
    with pytest.raises(ModelConfigError, match="lists the model a more than once"):
        ModelsConfig(PATH, "model_config_list { config { name: 'a' } config { name: 'b' } config { name: \"a\" } }")


def test_a_custom_configuration_gets_no_models() -> None:
    config = ModelsConfig(PATH, 'custom_model_config { type_url: "x" }')
    assert config.entries() == []
    with pytest.raises(ModelConfigError, match="has a custom_model_config"):
        config.add("m", "/models/m")


@pytest.mark.parametrize("label", ["", "a b", "é", 'a"', "-a", "a\n"])
def test_a_label_that_is_none_is_refused(label: str) -> None:
    config = ModelsConfig(PATH, PLAIN)
    with pytest.raises(ModelConfigError, match="is not a label"):
        config.label("first", label, 1)
    assert config.text == PLAIN


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


def test_a_large_file_is_written_at_once() -> None:
    text = "\n".join(f"config: {{ name: 'm{at}' base_path: '/models/m{at}' }} # {at}" for at in range(1000))
    config = ModelsConfig(PATH, f"model_config_list: {{\n{text}\n}}")
    config.label("m500", "stable", 1)
    began = time.process_time()
    written = config.text
    assert time.process_time() - began < 5
    assert all(f"  # {at}\n" in written for at in range(1000))
