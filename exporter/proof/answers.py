"""What an exported model must answer: computed from its checkpoint, or kept in ``assets.extra/verification.npz``.

Every array of the file is plain numpy (no pickles): ``texts`` is a JSON list as UTF-8 bytes, of lists of one text or
two, those that are no UTF-8 as ``{"hex": ...}``; ``counts`` int32 ``[texts]``, tokens before truncation; ``rows`` int32
``[texts]``, the token sequence of each (texts that are cut share one); ``lengths`` int32 ``[sequences]``; ``ids`` and
``types`` int32 ``[tokens of all sequences]``; ``starts`` and ``limits`` int32 ``[tokens of all texts]``; and for each
output of the reference ``output:NAME`` float32, ``[sequences, dim]`` for one vector a text, ``[tokens of all sequences,
hidden]`` for one a token.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...serving.contract import EMBED, Kind, signature
from ..errors import CorruptSource, OutputError, SourceNotFound, VerificationError
from ..recipe import Recipe
from . import samples
from .samples import Texts
from .tokens import ReferenceTokens

FILE = Path("assets.extra", "verification.npz")

_OUTPUT = "output:"
_EMBEDDING = EMBED.outputs[0].name
#: Where the reference has no offsets of its own.
_NO_OFFSET = -2


class Expected(NamedTuple):
    """What a reference gives for one text or pair.

    Attributes:
        text: the text, or the two.
        tokens: its tokens.
        vectors: by the name of an output, ``[dim]`` or ``[tokens, hidden]``.
    """

    text: Texts
    tokens: ReferenceTokens
    vectors: dict[str, np.ndarray]


def compute(recipe: Recipe, source: Path) -> list[Expected]:
    """What the reference gives for the samples; vectors are computed once for each sequence of tokens.

    Raises:
        VerificationError: it cannot answer one.
    """
    from .reference import FolderReference, HubReference

    is_hub = (source / "saved_model.pb").is_file()
    # What the user did not set the reference reads for itself.
    side = recipe.tokenization.truncation_side if "truncation_side" in recipe.chosen else None
    options = replace(recipe.tokenization, truncation_side=side)
    reference = (HubReference if is_hub else FolderReference)(source, recipe.max_seq_length, options)
    if recipe.pooling and {"pooling", "normalize"} & set(recipe.chosen):
        # The modes are the checkpoint's own where they were not chosen; its other steps go in any case.
        modes = recipe.pooling if "pooling" in recipe.chosen else reference.settings[_EMBEDDING][0]
        reference.settings[_EMBEDDING] = [modes, *(step for step in recipe.steps if step == "normalize")]
    if "max_seq_length" not in recipe.chosen and reference.max_seq_length not in (None, recipe.max_seq_length):
        raise VerificationError(
            f"texts are cut at {recipe.max_seq_length} tokens, and by the reference the checkpoint's own limit is "
            f"{reference.max_seq_length}"
        )
    made: dict[Any, dict[str, np.ndarray]] = {}
    expected = []
    for text in samples.chosen(reference.tokenize, recipe.max_seq_length, recipe.pair, reference.rows):
        tokens = reference.tokenize(*text)
        if reference.rows is not None and max(tokens.ids) >= reference.rows:
            raise VerificationError(
                f"the reference cannot answer the sample {quote(text)}: its tokenizer gives the id {max(tokens.ids)}, "
                f"and the embedding table has {reference.rows} rows"
            )
        key = (*tokens.ids, *tokens.types)
        if key not in made:
            made[key] = reference(tokens.ids, tokens.types)
        expected.append(Expected(text, tokens, made[key]))
    return expected


def read(path: Path) -> list[Expected]:
    """What :func:`write` kept.

    Raises:
        SourceNotFound: there is no such file.
        CorruptSource: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        texts = [
            tuple(bytes.fromhex(part["hex"]) if isinstance(part, dict) else part for part in parts)
            for parts in json.loads(arrays["texts"].tobytes())
        ]
        lengths, at, expected = arrays["lengths"], 0, []
        begins = np.concatenate([[0], np.cumsum(lengths)])
        for text, row, count in zip(texts, arrays["rows"].tolist(), arrays["counts"].tolist(), strict=True):
            tokens = slice(int(begins[row]), int(begins[row + 1]))
            spans = slice(at, at := at + int(lengths[row]))
            ids, types = arrays["ids"][tokens].tolist(), arrays["types"][tokens].tolist()
            starts, limits = arrays["starts"][spans].tolist(), arrays["limits"][spans].tolist()
            if _NO_OFFSET in starts:
                starts = limits = None
            vectors = {
                name.removeprefix(_OUTPUT): value[row] if len(value) == len(lengths) else value[tokens]
                for name, value in arrays.items()
                if name.startswith(_OUTPUT)
            }
            expected.append(Expected(text, ReferenceTokens(ids, starts, limits, count, types), vectors))
        return expected
    except FileNotFoundError:
        raise SourceNotFound(
            f"{path} is not there: without the answers that were kept, name the checkpoint with --source"
        ) from None
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise CorruptSource(f"{path} is no record of a verification: {error}") from error


def write(path: Path, expected: Sequence[Expected], signatures: Sequence[str]) -> None:
    """Keep what a reference gave; of its outputs those of these signatures.

    Raises:
        OutputError: the file cannot be written.
    """
    texts = [[part if isinstance(part, str) else {"hex": part.hex()} for part in each.text] for each in expected]
    first: dict[tuple[int, ...], int] = {}
    rows = [first.setdefault((*each.tokens.ids, *each.tokens.types), len(first)) for each in expected]
    different = [expected[rows.index(row)] for row in range(len(first))]

    def joined(name: str, chosen: Sequence[Expected]) -> np.ndarray:
        values = [getattr(each.tokens, name) or [_NO_OFFSET] * len(each.tokens.ids) for each in chosen]
        return np.concatenate(values).astype(np.int32)

    arrays: dict[str, Any] = {
        "texts": np.frombuffer(json.dumps(texts).encode(), np.uint8),
        "counts": np.array([each.tokens.count for each in expected], np.int32),
        "rows": np.array(rows, np.int32),
        "lengths": np.array([len(each.tokens.ids) for each in different], np.int32),
        **{name: joined(name, different) for name in ("ids", "types")},
        **{name: joined(name, expected) for name in ("starts", "limits")},
    }
    for output in {each for name in signatures for each in signature(name).outputs if not each.kind.exact}:
        values = [each.vectors[output.name] for each in different]
        join = np.stack if output.kind is Kind.VECTOR else np.concatenate
        arrays[_OUTPUT + output.name] = join(values).astype(np.float32)
    try:
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, **arrays)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def quote(texts: Texts) -> str:
    """A text or pair for people, in ASCII and not too long."""
    return " with ".join(ascii(text[:60]) + ("..." if len(text) > 60 else "") for text in texts)
