"""Prometheus' own tool accepts the configuration and the rules; each alert fires for its fault."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", PROMETHEUS / "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", PROMETHEUS / "rules.yml"),
        ("test", "rules", ROOT / "tests" / "data" / "prometheus_rules_test.yml"),
    ],
    ids=lambda arguments: f"{arguments[0]}-{arguments[1]}",
)
def test_promtool(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_would_find_a_rule_that_does_not_fire(tmp_path: Path) -> None:
    rules = (PROMETHEUS / "rules.yml").read_text(encoding="utf-8")
    assert "> 1e5" in rules
    (tmp_path / "rules.yml").write_text(rules.replace("> 1e5", "> 1e6"), encoding="utf-8")
    cases = (ROOT / "tests" / "data" / "prometheus_rules_test.yml").read_text(encoding="utf-8")
    (tmp_path / "test.yml").write_text(cases.replace("../../deploy/prometheus/", ""), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ServingQueues" in done.stdout + done.stderr
