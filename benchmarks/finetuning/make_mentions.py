"""Write a tagged data set from FOLDOC, the Free On-line Dictionary of Computing: sentences with marked names.

    python -m benchmarks.finetuning.make_mentions FOLDER

The command writes ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` with the fields ``text`` and ``spans``. The
source is Debian's package dict-foldoc (20230119-1 was used): the installed one, or else the one that ``apt-get
download`` gets.

The labels are the authors' own. In a definition, braces mark names that have an entry (``{Fortran}``), and each entry
states its field (``<language>``, ``<company>``, ``<person>``). The label of a marked name is the kind of its entry. The
text is the definition without the braces.

Authors mark a name only once in an entry. So sentences are left out if they contain an unmarked name that is marked
elsewhere in the entry, or the entry's own name.

No name of the training rows occurs in rows of the other parts, and vice versa: the test measures how well a tagger
finds names that it has never seen. Sentences with names of several parts are left out.

Licence: the dictionary is by Denis Howe and others, under the GNU Free Documentation License 1.1 or later, without
invariant sections. The texts are not a part of this project: everyone can write them from the package.
"""

import argparse
import gzip
import hashlib
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

INSTALLED = Path("/usr/share/dictd")
#: Kind -> fields of entries.
KINDS = {
    "language": ("language",),
    "organisation": ("company", "body"),
    "person": ("person",),
    "system": ("operating system",),
    "hardware": ("hardware", "processor", "computer", "storage"),
    "standard": ("standard", "protocol", "file format"),
}
PARTS = {"test": 0.15, "validation": 0.1}
#: Maximum number of sentences of a kind, so that training takes only minutes.
MOST = 600
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def entries(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and definitions. dictd's index has an offset and a length for each name, both in base 64."""
    text = gzip.decompress((folder / "foldoc.dict.dz").read_bytes())

    def number(digits: str) -> int:
        found = 0
        for digit in digits:
            found = found * 64 + _DIGITS.index(digit)
        return found

    for line in (folder / "foldoc.index").read_text(encoding="utf-8").splitlines():
        name, start, size = line.split("\t")
        yield name, text[number(start) : number(start) + number(size)].decode("utf-8", "replace")


def kind_of(definition: str) -> str | None:
    """The kind of an entry's subject; ``None`` if the entry has several senses, or its field is not of a kind."""
    field = re.search(r"^   <([a-z, ]+)>", definition, re.M)
    if field is None or re.search(r"^   [12]\. ", definition, re.M):
        return None
    fields = {each.strip() for each in field[1].split(",")}
    kinds = [kind for kind, own in KINDS.items() if fields & set(own)]
    return kinds[0] if len(kinds) == 1 else None


def sentences(definition: str) -> Iterator[str]:
    """The sentences of a definition, with braces."""
    for paragraph in re.split(r"\n\s*\n", definition):
        if re.search(r"\n {4,}\S", paragraph) or not paragraph.startswith("   "):
            continue  # a table or code; or the names of the entry
        text = re.sub(r"\s+", " ", paragraph).strip()
        text = re.sub(r"^(\d+\. )?(<[^<>]*> )?", "", text)
        for sentence in re.split(r"(?<=[.?!]) (?=[A-Z{])", text):
            if not re.search(r"\w\{|\}\w", sentence):  # braces within a word: {execute}d
                yield sentence


def spans_of(sentence: str, kinds: dict[str, str]) -> tuple[str, list[dict[str, object]]]:
    """The text without braces, and the spans of its marked names."""
    text, spans = "", []
    for part in re.split(r"(\{[^{}]*\})", sentence):
        if part.startswith("{"):
            named = part[1:-1]
            if kind := kinds.get(named.lower()):
                spans.append({"start": len(text), "end": len(text) + len(named), "label": kind})
            part = named
        text += part
    return text, spans


def key(text: str) -> str:
    """The sort key of rows."""
    return hashlib.sha256(text.encode()).hexdigest()


def part_of(name: str) -> str:
    """The part of the data set for a name; the plural of a name is in the same part."""
    place = int(key(f"part {name.lower().removesuffix('s')}")[:8], 16) / 16**8
    for part, share in PARTS.items():
        place -= share
        if place < 0:
            return part
    return "train"


def rows(folder: Path) -> dict[str, list[tuple[str, list[dict[str, object]]]]]:
    """Texts with their spans, by part."""
    found = dict(entries(folder))
    kinds = {name.lower(): kind for name, definition in found.items() if (kind := kind_of(definition))}
    names: dict[str, list[str]] = {}
    for name, definition in found.items():
        names.setdefault(definition, []).append(name)
    parts: dict[str, list[tuple[str, list[dict[str, object]]]]] = {"train": [], "validation": [], "test": []}
    count = dict.fromkeys(KINDS, 0)
    seen: set[str] = set()
    for definition, own in sorted(names.items(), key=lambda each: key(each[0])):
        every = [spans_of(each, kinds) for each in sentences(definition)]
        marked = {text[span["start"] : span["end"]] for text, spans in every for span in spans}  # type: ignore[misc]
        for text, spans in every:
            bare = text
            for span in reversed(spans):
                bare = f"{bare[: span['start']]}\0{bare[span['end'] :]}"  # type: ignore[misc]
            unmarked = any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", bare, re.I) for name in (*marked, *own))
            usable = 5 <= len(text.split()) <= 50 and not re.search(r"[{}]|https?:|^(See|Compare)\b", text)
            labels = {str(span["label"]) for span in spans}
            within = {part_of(text[span["start"] : span["end"]]) for span in spans}  # type: ignore[misc]
            if (
                len(within) != 1
                or unmarked
                or not usable
                or text in seen
                or all(count[label] >= MOST for label in labels)
            ):
                continue
            seen.add(text)
            parts[within.pop()].append((text, spans))
            for label in labels:
                count[label] += 1
    return parts


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = INSTALLED
        if not (source / "foldoc.index").is_file():
            subprocess.run(["apt-get", "download", "-q", "dict-foldoc"], check=True, cwd=scratch)
            (package,) = Path(scratch).glob("*.deb")
            subprocess.run(["dpkg-deb", "--extract", str(package), scratch], check=True)
            source = Path(scratch, *INSTALLED.parts[1:])
        for part, found in rows(source).items():
            lines = [json.dumps({"text": text, "spans": spans}, ensure_ascii=False) for text, spans in found]
            (folder / f"{part}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            counts = {kind: sum(span["label"] == kind for _, spans in found for span in spans) for kind in KINDS}
            print(f"{folder / part}.jsonl: {len(found)} rows; {', '.join(f'{n} {kind}' for kind, n in counts.items())}")


if __name__ == "__main__":
    main()
