"""Write a labelled data set from Debian's package index: one-line descriptions of packages, with their sections.

    python -m benchmarks.finetuning.make_sections FOLDER

The command writes ``train.csv``, ``validation.csv`` and ``test.csv`` with the columns ``text`` and ``label``, from the
index of this machine (``apt-cache dumpavail``, after ``apt-get update``; Debian 12 was used).

Licence: a description is a part of debian/control of its package and has that package's licence, which for all of
Debian's section ``main`` is a free one by the Debian Free Software Guidelines. The texts are not a part of this
project: everyone can write them from the index.

Packages of one source have nearly the same description (``foo``, ``foo-data``). So each source gives one row, and the
source's name is removed from the text. Rows are sorted and split by a hash, so that the same index always gives the
same files.
"""

import argparse
import csv
import hashlib
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

#: Sections of applications with enough sources. (Descriptions of libraries and languages often name their section.)
SECTIONS = ("admin", "devel", "games", "graphics", "math", "net", "science", "sound", "text", "utils", "web", "x11")
MOST = 420
PARTS = {"test": 0.15, "validation": 0.1}


def packages() -> Iterator[dict[str, str]]:
    """The fields of every package of the index, without continuation lines."""
    index = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True, text=True).stdout
    for paragraph in index.split("\n\n"):
        yield dict(re.findall(r"^([A-Z][\w-]*): (.*)$", paragraph, re.MULTILINE))


def key(text: str) -> str:
    """The sort key of rows."""
    return hashlib.sha256(text.encode()).hexdigest()


def rows() -> dict[str, list[str]]:
    """Texts by section: one of each source, sorted by hash, at most ``MOST`` per section."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for package in sorted(packages(), key=lambda each: each.get("Package", "")):
        section, text = package.get("Section"), package.get("Description", "")
        source = package.get("Source", package.get("Package", "")).split(" ")[0]
        name = re.escape(source.removesuffix("-data"))
        text = re.sub(rf"\b{name}\b", "it", text, flags=re.IGNORECASE)
        text = re.sub(r"\s*\([^()]*\)\s*$", "", text).strip()
        if section in SECTIONS and len(text.split()) >= 3:
            found[section].setdefault(source, text)
    seen: set[str] = set()
    texts: dict[str, list[str]] = {}
    for section in SECTIONS:
        own = sorted({text for text in found[section].values() if text.lower() not in seen}, key=key)
        texts[section] = own[:MOST]
        seen |= {text.lower() for text in own}
    return texts


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    for section, texts in rows().items():
        begin = 0
        for part, share in PARTS.items():
            end = begin + round(len(texts) * share)
            parts[part] += [(text, section) for text in texts[begin:end]]
            begin = end
        parts["train"] += [(text, section) for text in texts[begin:]]
    for part, lines in parts.items():
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["text", "label"])
            writer.writerows(sorted(lines, key=lambda line: key(f"order {line[0]}")))
        print(f"{folder / part}.csv: {len(lines)} rows")


if __name__ == "__main__":
    main()
