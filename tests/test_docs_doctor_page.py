"""docs/how-to/doctor.md lists all checks, in their order, with what they measure and what they advise."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "doctor.md"


def test_the_page_lists_all_checks() -> None:
    from rawbert.serving.doctor import CHECKS, TOGETHER

    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert rows == [f"| `{check.name}` | {check.measures} | {check.advice} |" for check in (*CHECKS, TOGETHER)]
