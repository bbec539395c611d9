"""``assets.extra/verification.npz``: the reference's answers, so that a version can be verified without its source.

Every array is plain numpy (no pickles): ``texts`` is a JSON list as UTF-8 bytes, of lists of one text or two, those
that are no UTF-8 as ``{"hex": ...}``; ``counts`` and ``lengths`` int32 ``[texts]``; ``ids``, ``types``, ``starts`` and
``limits`` int32 ``[tokens of all texts]``; and for each output of the reference
``output:NAME`` float32, ``[texts, dim]`` for one vector a text, ``[tokens of all texts, hidden]`` for one a token.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptSource, OutputError, SourceNotFound
from .tokens import ReferenceTokens

__all__ = ["FILE", "RecordedReference", "write"]

FILE = Path("assets.extra", "verification.npz")

_OUTPUT = "output:"

#: Where the reference has no offsets of its own.
_NO_OFFSET = -2
_FIELDS = ("ids", "types", "starts", "limits")

#: A text, or a pair of them.
Texts = tuple[str | bytes, ...]
#: What a reference gives for it: its tokens, and its outputs by name.
Expected = tuple[Texts, ReferenceTokens, dict[str, np.ndarray]]


class RecordedReference:
    """Stands in for the reference that an export was verified with; it knows the recorded texts only.

    Raises:
        SourceNotFound: there is no record.
        CorruptSource: it cannot be read.
    """

    #: A reference without an embedding table of its own.
    rows = None

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            self.texts: list[Texts] = [
                tuple(bytes.fromhex(part["hex"]) if isinstance(part, dict) else part for part in parts)
                for parts in json.loads(arrays["texts"].tobytes())
            ]
            ends = np.cumsum(arrays["lengths"])
            total = int(ends[-1])
            self._tokens: dict[Texts, ReferenceTokens] = {}
            self._outputs: dict[tuple[tuple[int, ...], ...], dict[str, np.ndarray]] = {}
            for row, text in enumerate(self.texts):
                at = slice(int(ends[row] - arrays["lengths"][row]), int(ends[row]))
                ids, types, starts, limits = (arrays[name][at].tolist() for name in _FIELDS)
                if _NO_OFFSET in starts:
                    starts = limits = None
                self._tokens[text] = ReferenceTokens(ids, starts, limits, int(arrays["counts"][row]), types)
                self._outputs[tuple(ids), tuple(types)] = {
                    name.removeprefix(_OUTPUT): value[at] if len(value) == total else value[row]
                    for name, value in arrays.items()
                    if name.startswith(_OUTPUT)
                }
        except FileNotFoundError:
            raise SourceNotFound(
                f"{path} is not there: without the record of an export, name the checkpoint with --source"
            ) from None
        except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
            raise CorruptSource(f"{path} is no record of a verification: {error}") from error

    def tokenize(self, *text: str | bytes) -> ReferenceTokens:
        """Tokens of a recorded text or pair."""
        return self._tokens[text]

    def __call__(self, ids: list[int], types: list[int]) -> dict[str, np.ndarray]:
        """Outputs by name for the tokens of a recorded text: float32 ``[dim]`` or ``[tokens, hidden]``."""
        return self._outputs[tuple(ids), tuple(types)]


def write(path: Path, expected: Sequence[Expected], outputs: Collection[str]) -> None:
    """Record what a reference gave; of its outputs those that are named.

    Raises:
        OutputError: the file cannot be written.
    """
    texts = [[part if isinstance(part, str) else {"hex": part.hex()} for part in text] for text, _, _ in expected]
    arrays: dict[str, Any] = {
        "texts": np.frombuffer(json.dumps(texts).encode(), np.uint8),
        "lengths": np.array([len(tokens.ids) for _, tokens, _ in expected], np.int32),
        "counts": np.array([tokens.count for _, tokens, _ in expected], np.int32),
        **{
            name: np.concatenate(
                [getattr(tokens, name) or [_NO_OFFSET] * len(tokens.ids) for _, tokens, _ in expected]
            ).astype(np.int32)
            for name in _FIELDS
        },
    }
    for name in outputs:
        values = [given[name] for _, _, given in expected]
        join = np.stack if values[0].ndim == 1 else np.concatenate
        arrays[_OUTPUT + name] = join(values).astype(np.float32)
    try:
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, **arrays)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
