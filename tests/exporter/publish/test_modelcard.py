"""The model card agrees with the manifest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import folders
from rawbert.exporter import ExportConfig, export


def test_the_card_of_a_version(tiny_bundle: Any) -> None:
    card = (tiny_bundle.path / "assets.extra" / "README.md").read_text(encoding="utf-8")
    manifest = tiny_bundle.manifest
    assert card.startswith("# bert\n")
    for file in manifest["source"]["files"]:
        assert file["sha256"] in card
    for signature, outputs in tiny_bundle.signatures.items():
        for output in outputs if signature != "serving_default" else ():
            assert f"| `{signature}` | `{output.name}` | {output.dtype} |" in card
    for output, figures in manifest["verification"]["outputs"].items():
        assert f"| `{output}` | {figures['max_abs']:.2e} |" in card
    assert f"A text is cut at {manifest['recipe']['max_seq_length']} tokens" in card
    assert f"a call has at most {manifest['batching']['max_batch_size']} texts" in card
    assert "licence of the source | not stated by the source" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    compile(code, "card", "exec")


def test_the_licence_goes_along(tmp_path: Path) -> None:
    source = folders.tiny(tmp_path / "source")
    (source / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# m\n", encoding="utf-8")
    (source / "LICENSE").write_text("the terms", encoding="utf-8")
    bundle = export(ExportConfig(encoder=source, output=tmp_path / "m", signatures=("tokenize",)))
    assert bundle.manifest["source"]["license"] == {"name": "apache-2.0", "file": "README.md"}
    assert (bundle.path / "assets.extra" / "LICENSE").read_text(encoding="utf-8") == "the terms"
    card = (bundle.path / "assets.extra" / "README.md").read_text(encoding="utf-8")
    assert "apache-2.0; see LICENSE next to this file" in card
