"""The hubs' own libraries, with a local server that speaks their protocols."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from folders import DATA, retensor, tiny
from hubs import COMMIT, TOKEN, Hubs, serve, tar_of
from rawbert.exporter import ConfigError, DownloadError, SourceNotFound, sources
from rawbert.exporter.sources.remote import download, hf

# In separate processes, because Hugging Face's library reads its settings when it is imported.
FETCH = """
import json, sys
from rawbert.exporter import ExportError, sources
said = []
try:
    with sources.fetched(sys.argv[1], json.loads(sys.argv[2]), said.append) as location:
        state = {"revision": location.revision, "folder": str(location.folder), "handle": location.handle}
        state["files"] = sorted(p.relative_to(location.folder).as_posix() for p in location.folder.rglob("*"))
        try:
            state["kind"] = sources.load(location).kind
        except ExportError as error:
            state["load"] = f"{type(error).__name__}: {error}"
except ExportError as error:
    state = {"error": type(error).__name__, "says": str(error)}
print(json.dumps({**state, "said": said}))
"""


@pytest.fixture
def hubs(tmp_path: Path):
    repository = tiny(tmp_path / "repository", "mean_dense_normalize")
    (repository / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n")
    for name in ("modeling_tiny.py", "onnx/model.onnx", "pytorch_model.bin", "tf_model.h5", "1_Pooling/run.py"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("not to be fetched")
    with serve(Hubs(repositories={"me/tiny": repository})) as running:
        yield running


def fetch(hubs: Hubs, home: Path, encoder: str = "me/tiny", revision: str | None = None, **environment: str) -> dict:
    removed = {"HF_HUB_OFFLINE", "HF_TOKEN", "HF_HOME"}
    base = {key: value for key, value in os.environ.items() if key not in removed}
    settings = {"HF_ENDPOINT": hubs.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, encoder, json.dumps(revision)],
        env={**base, **settings, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_only_the_files_that_are_read_are_fetched_and_never_code(hubs: Hubs, tmp_path: Path):
    got = fetch(hubs, tmp_path / "home")
    assert (got["kind"], got["revision"], got["handle"]) == ("sentence-transformers", COMMIT, "me/tiny")
    assert set(got["files"]) == {
        "1_Pooling", "1_Pooling/config.json", "2_Dense", "2_Dense/config.json", "2_Dense/model.safetensors",
        "3_Normalize", "3_Normalize/config.json", "README.md", "config.json", "config_sentence_transformers.json",
        "model.safetensors", "modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json",
        "vocab.txt",
    }  # fmt: skip
    assert not hubs.asked(r"\.py|onnx|\.bin|\.h5", "HEAD")
    # Large files are redirected to another host, and come last.
    assert hubs.asked("/lfs/") == [None, None]
    asked = [path for verb, path, _ in hubs.requests if verb == "GET" and ("/resolve/" in path or "/lfs/" in path)]
    assert all("/lfs/" in path for path in asked[-2:])

    before = len(hubs.asked(r"resolve|lfs"))
    assert fetch(hubs, tmp_path / "home")["kind"] == "sentence-transformers"
    assert len(hubs.asked(r"resolve|lfs")) == before  # all of it was in the cache
    offline = fetch(hubs, tmp_path / "home", HF_HUB_OFFLINE="1")
    assert (offline["kind"], offline["revision"]) == ("sentence-transformers", COMMIT)
    assert "using the cache" in offline["said"][1]


@pytest.mark.parametrize("revision", ["v1", COMMIT])
def test_a_revision_is_taken(hubs: Hubs, tmp_path: Path, revision: str):
    assert fetch(hubs, tmp_path / "home", revision=revision)["revision"] == COMMIT
    assert hubs.asked(f"/api/models/me/tiny/.*/{revision}")


def test_other_spellings_of_an_id(hubs: Hubs, tmp_path: Path):
    assert fetch(hubs, tmp_path / "home", "hf://me/tiny")["revision"] == COMMIT
    for named in ("https://huggingface.co/me/tiny", "https://huggingface.co/me/tiny/tree/v1"):
        assert fetch(hubs, tmp_path / "home", named)["revision"] == COMMIT


@pytest.mark.parametrize("revision", [None, "v1", COMMIT])
def test_every_file_is_of_the_commit_that_the_revision_was(hubs: Hubs, tmp_path: Path, revision: str | None):
    got = fetch(hubs, tmp_path / "home", revision=revision)
    assert got["revision"] == COMMIT
    assert hubs.asked("/resolve/", "HEAD")
    for method in ("HEAD", "GET"):
        assert len(hubs.asked("/resolve/", method)) == len(hubs.asked(f"/resolve/{COMMIT}/", method))
    offline = fetch(hubs, tmp_path / "home", revision=revision, HF_HUB_OFFLINE="1")
    assert (offline["kind"], offline["revision"]) == ("sentence-transformers", COMMIT)


def test_a_busy_hub_is_asked_again(hubs: Hubs, tmp_path: Path):
    hubs.status["/api/models/"] = [503, 2]
    got = fetch(hubs, tmp_path / "home")
    assert got["kind"] == "sentence-transformers"
    assert sum("the Hub says 503" in line for line in got["said"]) == 2


def test_a_repository_larger_than_any_checkpoint_is_refused(hubs: Hubs, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub
    from huggingface_hub.hf_api import RepoSibling

    siblings = [RepoSibling("model.safetensors", size=17 << 30)]
    info = huggingface_hub.ModelInfo(id="me/tiny", sha=COMMIT, siblings=[])
    info.siblings = siblings
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **kwargs: info)
    with pytest.raises(DownloadError, match=f"its files have {17 << 30} bytes"):
        hf.fetch("me/tiny", None, "me/tiny", print)


def test_a_revision_that_is_not_there_is_named(hubs: Hubs, tmp_path: Path):
    got = fetch(hubs, tmp_path / "home", revision="v2")
    assert (got["error"], "no revision 'v2'" in got["says"]) == ("SourceNotFound", True)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_model_that_is_not_there_is_named(hubs: Hubs, tmp_path: Path, token: str | None):
    got = fetch(hubs, tmp_path / "home", "me/none", **({"HF_TOKEN": token} if token else {}))
    assert got["error"] == "SourceNotFound"
    assert got["says"].startswith("me/none: no such folder, and no such model on the Hugging Face Hub")


def test_a_private_model_needs_a_token(hubs: Hubs, tmp_path: Path):
    hubs.private.add("me/tiny")
    got = fetch(hubs, tmp_path / "home")
    assert (got["error"], "set HF_TOKEN" in got["says"]) == ("SourceNotFound", True)
    assert fetch(hubs, tmp_path / "home", HF_TOKEN=TOKEN)["kind"] == "sentence-transformers"


def test_a_gated_model_needs_its_terms_accepted(hubs: Hubs, tmp_path: Path):
    hubs.gated.add("me/tiny")
    for environment in ({}, {"HF_TOKEN": "hf_other"}):
        got = fetch(hubs, tmp_path / "home", **environment)
        assert (got["error"], "is gated: accept its terms" in got["says"]) == ("DownloadError", True)
    assert fetch(hubs, tmp_path / "home", HF_TOKEN=TOKEN)["kind"] == "sentence-transformers"


def test_a_cut_transfer_goes_on_where_it_broke(hubs: Hubs, tmp_path: Path):
    # The library writes ten megabytes at a time.
    retensor(hubs.repositories["me/tiny"], lambda tensors: tensors.update(extra=np.zeros(4 << 20, np.float32)))
    hubs.cut["/lfs/"] = [12 << 20, 1]
    got = fetch(hubs, tmp_path / "home")
    if "error" in got:  # some releases of the library leave it to the next run
        got = fetch(hubs, tmp_path / "home")
    assert got["kind"] == "sentence-transformers"
    assert [span for span in hubs.asked("/lfs/") if span] == [f"bytes={10 << 20}-"]


def test_a_transfer_that_always_breaks_leaves_nothing_that_is_trusted(hubs: Hubs, tmp_path: Path):
    hubs.cut["/lfs/"] = [5_000, 1000]
    got = fetch(hubs, tmp_path / "home")
    assert (got["error"], got["says"].startswith("me/tiny: ")) == ("DownloadError", True)
    hubs.cut.clear()
    offline = fetch(hubs, tmp_path / "home", HF_HUB_OFFLINE="1")
    assert "kind" not in offline
    assert offline.get("error") == "DownloadError" or "no weights found" in offline["load"]
    assert fetch(hubs, tmp_path / "home")["kind"] == "sentence-transformers"


def test_without_network_and_cache_the_reason_is_said(hubs: Hubs, tmp_path: Path):
    got = fetch(hubs, tmp_path / "home", HF_HUB_OFFLINE="1")
    assert got["error"] == "DownloadError"
    assert got["says"].startswith("me/tiny: no such folder; the Hugging Face Hub cannot be reached, and its cache")


def test_another_refusal_is_said(hubs: Hubs, tmp_path: Path):
    hubs.status["/api/models/"] = [403]
    got = fetch(hubs, tmp_path / "home")
    assert (got["error"], "403" in got["says"]) == ("DownloadError", True)


def test_the_best_of_several_weight_files_is_wanted():
    names = ["config.json", "vocab.txt", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "model.ckpt.index"]
    assert hf.wanted(names)[1] == ["pytorch_model.bin"]
    shards = ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert hf.wanted([*names, *shards])[1] == shards
    original = ["bert_config.json", "vocab.txt", "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"]
    assert hf.wanted([*original, "bert_model.ckpt.meta"]) == (["vocab.txt", "bert_config.json"], original[2:])
    dense = [
        "2_Dense/pytorch_model.bin",
        "2_Dense/model.safetensors",
        "onnx/model.safetensors",
        "a/b/pytorch_model.bin",
    ]
    assert hf.wanted(dense)[1] == ["2_Dense/model.safetensors"]


# TF Hub.


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with serve(Hubs(modules={"/me/tiny/3": tar_of(DATA / "hub_bert")})) as running:
        yield running


def resolve(url: str, revision: str | None = None) -> sources.Location:
    with sources.fetched(url, revision) as location:
        return location


def cached(tmp_path: Path) -> list[str]:
    """Modules in the cache that the next run would use."""
    cache = tmp_path / "cache"
    return [path.name for path in cache.iterdir() if path.is_dir()] if cache.exists() else []


@pytest.mark.parametrize("path", ["/me/tiny/3", "/moved/me/tiny/3"])
def test_a_module_is_downloaded_once(modules: Hubs, tmp_path: Path, path: str):
    location = resolve(modules.url + path)
    assert (location.origin, location.revision, location.handle) == ("tfhub", "3", modules.url + path)
    assert sources.load(location).kind == "hub"
    assert location.folder.parent == tmp_path / "cache"
    before = len(modules.requests)
    assert resolve(modules.url + path).folder == location.folder
    assert len(modules.requests) == before


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (401, DownloadError, "the server says 401"),
        (403, DownloadError, "the server says 403"),
        (404, SourceNotFound, "the server says 404: check the URL"),
        (500, DownloadError, "the server says 500"),
    ],
)
def test_a_refused_module_leaves_nothing(modules: Hubs, tmp_path: Path, status: int, error: type[Exception], says: str):
    modules.status["/me/tiny"] = [status]
    with pytest.raises(error, match=says):
        resolve(modules.url + "/me/tiny/3")
    assert cached(tmp_path) == []
    modules.status.clear()
    assert sources.load(resolve(modules.url + "/me/tiny/3")).kind == "hub"


def spoil(modules: Hubs, how: str) -> None:
    whole = modules.modules["/me/tiny/3"]
    if how == "cut archive":
        modules.modules["/me/tiny/3"] = whole[: len(whole) // 2]
    elif how == "a page":
        modules.modules["/me/tiny/3"] = b"<html>sign in</html>"
    elif how == "up and out":
        import io
        import tarfile

        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as made:
            made.addfile(tarfile.TarInfo("../trace"))
        modules.modules["/me/tiny/3"] = buffer.getvalue()


def test_a_module_by_a_cut_transfer_or_a_busy_server(modules: Hubs):
    modules.status["/me/tiny"] = [503, 1]
    modules.cut["/me/tiny"] = [100_000, 1]
    assert sources.load(resolve(modules.url + "/me/tiny/3")).kind == "hub"


@pytest.mark.parametrize("how", ["cut archive", "a page", "up and out"])
def test_a_damaged_module_leaves_nothing_that_the_next_run_would_trust(modules: Hubs, tmp_path: Path, how: str):
    whole = modules.modules["/me/tiny/3"]
    spoil(modules, how)
    with pytest.raises(DownloadError, match=r"/me/tiny/3: cannot be downloaded as a TF Hub module"):
        resolve(modules.url + "/me/tiny/3")
    assert cached(tmp_path) == []
    assert not (tmp_path / "trace").exists()
    modules.modules["/me/tiny/3"] = whole
    assert sources.load(resolve(modules.url + "/me/tiny/3")).kind == "hub"


def test_a_revision_of_a_module_is_its_url(modules: Hubs):
    with pytest.raises(ConfigError, match="the last part of its URL"):
        resolve(modules.url + "/me/tiny/3", "3")


@pytest.mark.parametrize("named", ["gs://bucket/model", "s3://bucket/model", "ftp://host/model.zip"])
def test_other_schemes_are_refused(named: str):
    with pytest.raises(ConfigError, match="is not supported; copy the checkpoint to a local folder first"):
        resolve(named)


# Kaggle.

HANDLE = "me/bert/tensorFlow2/tiny"


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import kagglesdk.kaggle_env as environment

    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_API_V1_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    # The library has an environment for a server on this machine, at a port that may be taken.
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    with serve(Hubs(kaggle={HANDLE: DATA / "hub_bert"})) as running:
        monkeypatch.setitem(environment._env_to_endpoint, environment.KaggleEnv.LOCAL, running.url)
        yield running


@pytest.mark.parametrize(
    ("named", "revision"),
    [
        (HANDLE, None),
        (f"{HANDLE}/2", None),
        (HANDLE, "2"),
        (f"https://www.kaggle.com/models/{HANDLE}", None),
        ("https://www.kaggle.com/models/me/bert/frameworks/tensorFlow2/variations/tiny/versions/2", None),
    ],
)
def test_a_kaggle_model_is_downloaded_once(kaggle: Hubs, named: str, revision: str | None):
    location = resolve(named, revision)
    newest = "2" not in named.rpartition("/")[2] and revision is None
    assert (location.origin, location.revision, location.handle) == ("kaggle", "3" if newest else "2", named)
    assert sources.load(location).kind == "hub"
    before = len(kaggle.asked("/kaggle/"))
    assert before == 6
    assert resolve(named, revision).folder == location.folder
    assert len(kaggle.asked("/kaggle/")) == before


@pytest.mark.parametrize("revision", ["main", "2"])
def test_a_kaggle_version_is_a_number_in_one_place(kaggle: Hubs, revision: str):
    with pytest.raises(ConfigError, match="give one version number, in one place"):
        resolve(f"{HANDLE}/2", revision)


def test_a_kaggle_model_that_is_not_there_is_named(kaggle: Hubs):
    with pytest.raises(SourceNotFound, match="no such model on Kaggle; check the handle"):
        resolve("me/bert/tensorFlow2/none")


@pytest.mark.parametrize("status", [401, 403])
def test_a_kaggle_model_may_need_credentials(kaggle: Hubs, status: int):
    kaggle.status["ModelApiService"] = [status]
    with pytest.raises(DownloadError, match=rf"Kaggle says {status}: log in \(KAGGLE_API_TOKEN"):
        resolve(HANDLE)


def test_a_kaggle_transfer_that_breaks_is_not_trusted_and_goes_on(kaggle: Hubs, tmp_path: Path):
    kaggle.cut["variables.data"] = [10_000, 1]
    with pytest.raises(DownloadError, match="cannot be downloaded from Kaggle"):
        resolve(HANDLE)
    location = resolve(HANDLE)
    assert sources.load(location).kind == "hub"
    for path in (DATA / "hub_bert").rglob("*"):
        if path.is_file():
            copy = location.folder / path.relative_to(DATA / "hub_bert")
            assert copy.read_bytes() == path.read_bytes()


def test_a_damaged_cache_is_named(kaggle: Hubs):
    location = resolve(HANDLE)
    (location.folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(sources.CorruptSource, match=r"cache of kaggle: delete .*/tensorFlow2/tiny/3, and try again"):
        sources.load(resolve(HANDLE))
    shutil.rmtree(location.folder)
