"""docs/reference/signatures.md: its table agrees with the contract."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rawbert.serving.contract import DEFAULT_SIGNATURE, SIGNATURES, TEXT, default_of, signature

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "signatures.md").read_text(encoding="utf-8")
ROWS = {found[1]: found[2] for found in re.finditer(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE)}


@pytest.mark.parametrize("declared", SIGNATURES, ids=lambda each: each.name)
def test_the_page_lists_every_output_with_dtype_and_shape(declared) -> None:
    row = ROWS[declared.name]
    others = re.findall(r"all of `(\w+)`", row)
    listed = {each.name for name in others for each in signature(name).outputs}
    for output in declared.outputs_for(pair=False):
        if output.name in listed:
            continue
        # The page states dtype and shape once for outputs that share them.
        after = row[row.index(f"`{output.name}`") :]
        assert re.match(r"(`\w+`,? ?)+" + re.escape(f"{output.dtype} `[{', '.join(output.shape)}]`"), after), output
    named = set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", row))) - {"tokenize"}
    assert named <= {output.name for output in declared.outputs}


def test_the_page_says_what_the_default_is() -> None:
    row = ROWS[DEFAULT_SIGNATURE]
    assert re.findall(r"`(\w+)`", row)[:2] == [default_of(["embed", "pooled"]), default_of(["pooled", "sequence"])]
    assert f"Every signature takes `{TEXT}`, string `[batch]`" in PAGE
