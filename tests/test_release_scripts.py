"""The scripts that add a TensorFlow release, on sources and op lists written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import dump_ops
import environments
import make_flags
import make_ops
import release

MAIN = """
int main(int argc, char** argv) {
  tensorflow::serving::main::Server::Options options;
  bool display_version = false;
  std::vector<tensorflow::Flag> flag_list = {
      tensorflow::Flag("port", &options.grpc_port, "TCP port "
                       "to listen on."),
      tensorflow::Flag(
          "retry_micros", &options.retry_micros, "Wait."),
      tensorflow::Flag("threads", &options.threads, "Threads."),
      tensorflow::Flag("part", &options.part, "Part."),
      tensorflow::Flag("model_name", &options.model_name, "Name."),
      tensorflow::Flag("file", &options.file, "File."),
      tensorflow::Flag("enable_it", &options.it, "It."),
      tensorflow::Flag("version", &display_version, "Show it.")};
}
"""
HEADER = """
  struct Options {
    // A comment.
    tensorflow::int32 grpc_port = 8500;
    int64_t retry_micros = 1LL * 60 * 1000;  // A minute.
    tensorflow::int32 threads = 4.0 * port::NumSchedulableCPUs();
    float part = 0;
    tensorflow::string model_name;
    string file;
    bool it = true;
    Options();
  };
"""
SERVER = 'Server::Options::Options() : model_name("default"), tags(kTags) {}\n'
FLAGS = [
    ("port", "int32", 8500), ("retry_micros", "int64", 60000), ("threads", "int32", None), ("part", "float", 0.0),
    ("model_name", "string", "default"), ("file", "string", ""), ("enable_it", "bool", True),
    ("version", "bool", False),
]  # fmt: skip


def sources(folder: Path, main: str) -> Path:
    """A repository with the files that contain the flags."""
    servers = folder / "tensorflow_serving" / "model_servers"
    servers.mkdir(parents=True)
    for name, text in (("main.cc", main), ("server.h", HEADER), ("server.cc", SERVER)):
        (servers / name).write_text(text, encoding="utf-8")
    git = [
        "git",
        "-C",
        str(folder),
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "-c",
        "commit.gpgsign=false",
    ]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "x"], ["tag", "9.1.0"]):
        subprocess.run([*git, *words], check=True)
    return folder


def test_flags_are_read_off_the_sources_and_keep_our_words(tmp_path: Path) -> None:
    repository = sources(tmp_path / "serving", MAIN)
    page = make_flags.make("9.1.0", repository, data=tmp_path)
    assert [(flag["name"], flag["type"], flag["default"]) for flag in make_flags.read(page)] == FLAGS
    assert make_flags.read(page)[0]["help"] == "TCP port to listen on."
    page.write_text(page.read_text(encoding="utf-8").replace("TCP port to listen on.", "Port."), encoding="utf-8")
    assert make_flags.read(make_flags.make("9.2.0", repository, "9.1.0", tmp_path))[0]["help"] == "Port."
    assert make_flags.commit(repository, "9.1.0") in make_flags.page("9.2.0", tmp_path).read_text(encoding="utf-8")


def test_a_flag_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    repository = sources(tmp_path / "serving", MAIN.replace('"Threads."', "ThreadsHelp()"))
    with pytest.raises(SystemExit, match="7 of 8 flags"):
        make_flags.make("9.1.0", repository, data=tmp_path)
    with pytest.raises(SystemExit, match=r"9\.9\.9"):
        make_flags.make("9.9.9", repository, data=tmp_path)


def op(attrs: dict[str, Any] | None = None, **kernels: Any) -> dict[str, Any]:
    return {"attrs": attrs or {}, **kernels}


def test_what_changed_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    before = {"Gone": op(), "Same": op(), "Other": op({"T": ["type", None]}), "More": op(cpu=[{"T": [1]}])}
    after = {
        "New": op(), "Same": op(), "Other": op({"T": ["type", "type: DT_INT32"], "N": ["int", None]}),
        "More": op(cpu=[{"T": [1, 14]}], gpu=[{"T": [1]}]),
    }  # fmt: skip
    release.show_ops(({"release": "9.0"}, before), ({"release": "9.1"}, after))
    shown = capsys.readouterr().out
    for line in (
        "1 ops added: New", "1 ops removed: Gone", "Other: +N, T ['type', None], now ['type', 'type: DT_INT32']",
        "More: +T=bfloat16", "More: +T=float32",
    ):  # fmt: skip
        assert line in shown
    assert "Same" not in shown


def test_kernels_that_differ_in_one_dtype_are_one_row() -> None:
    rows = [{"T": [a], "S": [b]} for a in (1, 2) for b in (3, 9)] + [{"T": [14], "S": [3]}, {"T": [1], "S": [3]}]
    merged = dump_ops.merged(rows)
    taken = {(t, s) for row in merged for t in row["T"] for s in row["S"]}
    assert taken == {(1, 3), (1, 9), (2, 3), (2, 9), (14, 3)}
    assert len(merged) == 2
    assert dump_ops.merged([{}, {}]) == [{}]


def test_a_file_of_ops_is_read_back_and_its_bytes_do_not_depend_on_order(tmp_path: Path) -> None:
    ops = {"B": op({"T": ["type", None]}), "A": op(cpu=[{"T": [1]}])}
    head = {"release": "9.1"}
    make_ops.write(tmp_path / "one", head, ops)
    make_ops.write(tmp_path / "other", head, dict(sorted(ops.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert make_ops.read(tmp_path / "one") == (head, ops)


def test_lines_and_the_order_of_files() -> None:
    assert [environments.line_of(each) for each in ("2.21.0", "2.22.0rc0", "2.21")] == ["2.21", "2.22", "2.21"]
    names = ["2.9.tsv.xz", "2.21.tsv.xz", "2.22rc0.tsv.xz", "2.22rc1.tsv.xz", "2.22.tsv.xz"]
    assert sorted(map(Path, reversed(names)), key=make_ops.order) == [Path(name) for name in names]
    pages = [make_flags.page(each, Path()) for each in ("2.22.1", "2.9.1", "2.22.0", "2.22.0rc0")]
    assert sorted(pages, key=make_flags.order) == [pages[at] for at in (1, 3, 2, 0)]


def test_the_flags_that_rawbert_serve_knows_are_those_of_the_newest_release_too() -> None:
    newest = max(make_flags.DATA.glob("*_flags.json"), key=make_flags.order)
    from rawbert.serving.cli.flags import known_flags

    assert json.dumps(make_flags.read(newest)) == json.dumps(known_flags())
