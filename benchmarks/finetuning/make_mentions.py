"""Make a tagged data set of FOLDOC, the Free On-line Dictionary of Computing: sentences, and what they mention.

    python -m benchmarks.finetuning.make_mentions FOLDER

writes ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` with a ``text`` and ``spans``, of Debian's package
dict-foldoc (20230119-1 was used): the one that is installed, or one that ``apt-get download`` brings.

The labels are the authors' own. In a definition they put braces around what has an entry itself (``{Fortran}``), and
each entry names its field (``<language>``, ``<company>``, ``<person>``): a mention has the kind of the entry that it
leads to. The text is the definition without the braces.

Authors mark a word once. So sentences with a word that is marked in another place of its entry only, or with the
entry's own name, are left out.

Names that the training rows mention are in no row of the other parts, and the other way round: what is measured is
how well a tagger finds names that it has never seen. Sentences that mention names of several parts are left out.

Licence: the dictionary is Denis Howe's and others', under the GNU Free Documentation License 1.1 or later, without
invariant sections. The texts are not a part of this project: everyone makes them from the package.
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
#: Sentences of a kind at most, so that training takes minutes.
MOST = 600
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def entries(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and definitions: dictd's index has for each name a place and a length, to the base of 64."""
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
    """The kind of what an entry is about; ``None`` where it has several senses, or its field is no kind."""
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
            continue  # a table, or code; the names of the entry
        text = re.sub(r"\s+", " ", paragraph).strip()
        text = re.sub(r"^(\d+\. )?(<[^<>]*> )?", "", text)
        for sentence in re.split(r"(?<=[.?!]) (?=[A-Z{])", text):
            if not re.search(r"\w\{|\}\w", sentence):  # a part of a word, {execute}d
                yield sentence


def spans_of(sentence: str, kinds: dict[str, str]) -> tuple[str, list[dict[str, object]]]:
    """The text without braces, and its mentions."""
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
    """What rows are ordered by."""
    return hashlib.sha256(text.encode()).hexdigest()


def part_of(name: str) -> str:
    """The part that a name is in; plurals are in that of the singular."""
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
