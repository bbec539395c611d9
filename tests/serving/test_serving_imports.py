"""Imports of each entry point, each in a separate process."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = (
    "import sys; heavy = {'tensorflow', 'tensorflow_text', 'tf_keras', 'transformers', 'pandas', 'rawbert.exporter'}"
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "statement",
    [
        "import rawbert.serving",
        "import rawbert.serving.cli.app",
        "import rawbert.serving.cli.query",
        "import rawbert.serving.cli.serve",
        "import rawbert.serving.cli.gateway",
    ],
)
def test_no_tensorflow(statement: str) -> None:
    result = run(f"{statement}\n{LOADED}\nassert not heavy & set(sys.modules), heavy & set(sys.modules)")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["serve", "--help"], ["embed", "--help"], ["nope"]])
def test_no_tensorflow_at_the_terminal(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['rawbert', *{arguments!r}]\n"
        "from rawbert.serving.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"{LOADED}\nassert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_the_client_needs_no_more_than_its_dependencies() -> None:
    code = (
        "import sys\n"
        "for name in ('click', 'rich', 'tensorflow', 'ml_dtypes', 'pyarrow'): sys.modules[name] = None\n"
        "import numpy as np\nimport rawbert.serving\nfrom rawbert.serving.wire import codec\n"
        "assert codec.decode_tensor(codec.encode(np.ones(3, 'f4'))).tolist() == [1, 1, 1]"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_commands_of_the_extra_cli_need_no_more_than_that() -> None:
    """Also the commands that read versions and bundles."""
    others = (
        "tensorflow", "transformers", "tokenizers", "safetensors", "h5py", "huggingface_hub", "requests", "kagglehub",
        "ml_dtypes", "pyarrow", "fsspec", "cryptography", "starlette", "prometheus_client",
    )  # fmt: skip
    code = (
        f"import sys\nfor name in {others}:\n"
        "    sys.modules[name] = None\n"
        "from importlib import import_module\n"
        "from rawbert.serving.cli.app import COMMANDS\n"
        "for module in {module for module, extra, _ in COMMANDS.values() if extra == 'cli'}:\n"
        "    import_module(f'rawbert.{module}')"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("click", ["--help"], "cli"),
        ("rich", ["export", "--help"], "export"),
        ("fsspec", ["push", "model", "s3://bucket/model"], "push"),
        ("fastapi", ["gateway", "--help"], "gateway"),
        ("uvicorn", ["gateway", "--help"], "gateway"),
        ("tensorflow", ["serve", "--model_base_path", "/nowhere"], "server"),
        ("tensorflow_text", ["serve", "--model_base_path", "/nowhere"], "server"),
        ("tensorflow_serving", ["serve", "--model_base_path", "/nowhere"], "server"),
    ],
)
def test_a_missing_extra_ends_with_the_command_that_mends_it(missing: str, arguments: list[str], extra: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['rawbert', *{arguments!r}]\n"
        "from rawbert.serving.cli import main; main()"
    )
    result = run(code)
    assert result.returncode == 1
    assert f"pip install 'rawbert[{extra}]'" in result.stderr
    assert "Traceback" not in result.stderr
