"""The cases against a server program, and against servers that are wrong on purpose, which they must notice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cases
import pytest
import servers

_PLAIN = [(section, name) for section, table in cases.PLAIN.items() for name in table]


@pytest.mark.parametrize(("section", "name"), _PLAIN)
def test_plain(plain: Any, section: str, name: str) -> None:
    cases.PLAIN[section][name](plain)


@pytest.mark.parametrize("name", cases.BATCHED)
def test_batched(batched: Any, name: str) -> None:
    cases.BATCHED[name](batched)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def walk_through_versions(calls: Any, models: Path, base: Path) -> None:
    """docs/tensorflow-serving.md, Versions and Reload, on a server of version 1 alone under ``base``."""
    labelled = 'version_labels {{ key: "stable" value: {} }}'
    serves = lambda: [version for version, state, _ in calls.status("text") if state == 30]  # noqa: E731
    assert calls.embed(b"a")[0] == 1
    shutil.copytree(models / "text" / "2", base / "text" / ".2")
    (base / "text" / ".2").rename(base / "text" / "2")
    until(lambda: serves() == [2])
    assert calls.embed(b"a")[0] == 2
    (base / "text" / "3").mkdir()  # Empty: broken. Version 2 goes on, 3 is END and says why.
    until(lambda: (3, 50, 5) in calls.status("text"))
    assert calls.embed(b"a")[0] == 2
    (base / "text" / "3").rmdir()
    shutil.rmtree(base / "text" / "2")  # Version 1 comes back.
    until(lambda: serves() == [1])
    shutil.copytree(models / "text" / "2", base / "text" / ".2")
    (base / "text" / ".2").rename(base / "text" / "4")
    calls.reload(servers.text_config(base, labelled.format(1), "all {}"))
    until(lambda: serves() == [4, 1])
    assert calls.embed(b"a", label="stable")[0] == 1
    config = servers.text_config(base, labelled.format(3), "all {}")
    cases.refused(
        lambda: calls.reload(config),
        cases.Code.FAILED_PRECONDITION,
        "Request to assign label to version 3 of model text, which is not currently available for inference",
    )
    assert calls.embed(b"a", label="stable")[0] == 1
    calls.reload(servers.text_config(base, labelled.format(4), "specific { versions: 4 }"))
    until(lambda: serves() == [4])
    for changed, message in (
        (
            ("base_path:", "base_path: 'rel/x' #"),
            "Expected model text to have an absolute path or URI; got base_path()",
        ),
        (('model_platform: "tensorflow"', ""), "Illegal setting neither ModelServerConfig::model_type (deprecated)"),
        (('"tensorflow"', '"onnx"'), "Illegal to change a model's platform. For model text platform was tensorflow"),
    ):
        text = servers.text_config(base, policy="all {}").replace(" model_platform", "\nmodel_platform")
        cases.refused(partial(calls.reload, text.replace(*changed)), cases.INVALID, message)
    twice = servers.text_config(base, labelled.format(4))
    cases.refused(lambda: calls.reload(twice, twice), cases.INVALID, "Illegal to list model text multiple times")
    calls.reload()
    until(lambda: not serves())
    cases.refused(lambda: calls.embed(b"a"), cases.Code.NOT_FOUND, "Servable not found for request: Latest(text)")


def _base(models: Path, root: Path) -> Path:
    shutil.copytree(models / "text" / "1", root / "text" / "1")
    return root


def test_versions_and_reload(program: str | None, models: Path, tmp_path: Path) -> None:
    base = _base(models, tmp_path)
    flags = [
        "--model_name=text",
        f"--model_base_path={base}/text",
        "--max_num_load_retries=0",
        "--enable_model_warmup=false",
    ]
    with servers.running(program, *flags) as calls:
        walk_through_versions(calls, models, base)


@pytest.mark.parametrize(
    "flags",
    [
        ["--model_name=x"],
        ["--model_base_path={models}/text", "--batching_parameters_file={models}/batching"],
        ["--model_base_path={models}/text", "--port=abc"],
    ],
    ids=["no model", "parameters without batching", "a value that does not parse"],
)
def test_a_start_that_fails(program: str | None, models: Path, flags: list[str]) -> None:
    # The exit status differs: 255 there, 1 or 2 here.
    with servers.started(program, *(flag.format(models=models) for flag in flags)) as (process, _):
        assert process.wait(120) != 0


def _wrap(target: Any, name: str, change: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(target, name, change(getattr(target, name)))


def _faults() -> dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]]:
    """Fault -> (how it is brought about, the case that must fail)."""
    from rawbert.serving.server import batching, failure, lifecycle, registry, service, tensors

    def wrong_code(original: Any) -> Any:
        return lambda message: failure.Failure(cases.Code.UNKNOWN, message)

    def smallest(original: Any) -> Any:
        return lambda self, model, version, label: original(
            self,
            model,
            min(self._servables.get(model, {}), default=None) if version is label is None else version,
            label,
        )

    return {
        "a wrong code": (_wrap(registry, "_absent", wrong_code), "unknown model"),
        "a wrong message": (_wrap(service, "_invalid", lambda f: lambda _: f("bad")), "wrong dtype"),
        "the smallest version": (_wrap(registry.Registry, "_find", smallest), "unversioned is the largest"),
        "labels ignored": (
            _wrap(registry.Registry, "_find", lambda f: lambda self, m, v, label: f(self, m, v, None)),
            "labels choose the version",
        ),
        "an output filter ignored": (
            _wrap(service, "_outputs", lambda f: lambda signature, _: f(signature, ())),
            "an output filter is kept to",
        ),
        "rows in another order": (
            _wrap(tensors, "encode_into", lambda f: lambda t, v, c=False: f(t, v[::-1] if v.ndim else v, c)),
            "embed: embedding",
        ),
        "always tensor_content": (
            _wrap(tensors, "encode_into", lambda f: lambda t, v, c=False: f(t, v, True)),
            "float32 in float_val",
        ),
        "states in another order": (
            _wrap(registry.Registry, "status", lambda f: lambda self, m, v=None: f(self, m, v)[::-1]),
            "states the largest version first",
        ),
        "metadata of another version": (
            _wrap(
                service.PredictionService,
                "_metadata",
                lambda f: lambda self, r: (r.model_spec.ClearField("version"), f(self, r))[1],
            ),
            "metadata of the version asked for",
        ),
        "never batched": (
            _wrap(batching.Batcher, "run", lambda f: lambda self, s, t: self._run(s, t.inputs, t.outputs)),
            "callers in one batch see each others padding",
        ),
        "new versions unseen": (
            _wrap(lifecycle.Manager, "_look", lambda f: lambda self, m, g: f(self, m, g) if self._done < g else None),
            "versions",
        ),
    }


@pytest.mark.parametrize(
    "fault",
    [
        "a wrong code", "a wrong message", "the smallest version", "labels ignored", "an output filter ignored",
        "rows in another order", "always tensor_content", "states in another order", "metadata of another version",
        "never batched", "new versions unseen",
    ],
)  # fmt: skip
def test_a_wrong_server_is_noticed(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    from rawbert.serving.server import EmbeddedServer

    bring_about, name = _faults()[fault]
    bring_about(monkeypatch)
    flags: dict[str, Any] = {"model_config_file": str(models / "models.config")}
    if fault == "new versions unseen":
        monkeypatch.setattr("test_congruence.until", lambda condition: _soon(condition))
        flags = {"model_name": "text", "base_path": _base(models, tmp_path) / "text"}
    elif name in cases.BATCHED:
        flags |= {"enable_batching": True, "batching_parameters_file": str(models / "batching")}
    with EmbeddedServer(**flags, enable_model_warmup=False, allow_version_labels_for_unavailable_models=True) as server:
        calls = servers.Calls(server.address)
        tables = [*cases.PLAIN.values(), cases.BATCHED]
        walk = lambda calls: walk_through_versions(calls, models, tmp_path)  # noqa: E731
        run = next((table[name] for table in tables if name in table), walk)
        with pytest.raises((AssertionError, pytest.fail.Exception, cases.grpc.RpcError)):
            run(calls)


def _soon(condition: Callable[[], bool]) -> None:
    time.sleep(3)
    assert condition()
