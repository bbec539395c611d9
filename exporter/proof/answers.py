"""The expected answers of an exported model: computed from its checkpoint, or stored in
``assets.extra/verification.npz``.

The arrays of the file are plain numpy without pickles. ``answers`` is JSON as UTF-8 bytes: the names of the outputs;
for each sample its texts (as ``{"hex": ...}`` if not UTF-8), its tokens, and the number of its token sequence
(truncated texts may share one); for a fine-tuned head its :class:`Labels`. ``NAME:NUMBER`` float32 is an output for a
sequence, ``[dim]`` or ``[tokens, hidden]``; for scores it contains the logits.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...serving.contract import EMBED, signature
from ..errors import CorruptSource, OutputError, SourceNotFound, VerificationError
from ..recipe import Recipe
from . import samples
from .labels import Labels
from .samples import Texts
from .tokens import ReferenceTokens

FILE = Path("assets.extra", "verification.npz")

_EMBEDDING = EMBED.outputs[0].name


class Expected(NamedTuple):
    """The reference's answer for one text or pair.

    Attributes:
        text: the text, or the two.
        tokens: its tokens.
        vectors: outputs by name, ``[dim]`` or ``[tokens, hidden]``; for scores the logits.
        labels: labels of the scores; ``None`` without scores.
    """

    text: Texts
    tokens: ReferenceTokens
    vectors: dict[str, np.ndarray]
    labels: Labels | None = None


def compute(recipe: Recipe, source: Path) -> list[Expected]:
    """The reference's answers for the samples; vectors are computed once for each token sequence.

    Raises:
        VerificationError: the reference cannot answer a sample.
    """
    from . import keras_model
    from .reference import FolderReference, HubReference

    # The reference itself reads the settings that the user did not choose.
    side = recipe.tokenization.truncation_side if "truncation_side" in recipe.chosen else None
    options = replace(recipe.tokenization, truncation_side=side)
    reference: Any
    if keras_model.is_model(source):
        reference = keras_model.KerasReference(source, recipe, options)
    else:
        is_hub = (source / "saved_model.pb").is_file()
        reference = (HubReference if is_hub else FolderReference)(source, recipe.max_seq_length, options)
    if recipe.pooling and {"pooling", "normalize"} & set(recipe.chosen):
        # By default the modes are the checkpoint's own; chosen modes replace its whole recipe.
        modes = recipe.pooling if "pooling" in recipe.chosen else reference.settings[_EMBEDDING][0]
        reference.settings[_EMBEDDING] = [modes, *(step for step in recipe.steps if step == "normalize")]
    if "max_seq_length" not in recipe.chosen and reference.max_seq_length not in (None, recipe.max_seq_length):
        raise VerificationError(
            f"texts are cut at {recipe.max_seq_length} tokens, but the reference reads a limit of "
            f"{reference.max_seq_length} from the checkpoint"
        )
    made: dict[Any, dict[str, np.ndarray]] = {}
    expected = []
    for text in samples.chosen(reference.tokenize, recipe.max_seq_length, recipe.pair, reference.rows):
        tokens = reference.tokenize(*text)
        if reference.rows is not None and max(tokens.ids) >= reference.rows:
            raise VerificationError(
                f"the reference cannot answer the sample {quote(text)}: its tokenizer gives the id {max(tokens.ids)}, "
                f"but the embedding table has {reference.rows} rows"
            )
        key = (*tokens.ids, *tokens.types)
        if key not in made:
            made[key] = reference(tokens.ids, tokens.types)
        expected.append(Expected(text, tokens, made[key]))
    absent = [name for name in _measured(recipe.signatures) if name not in expected[0].vectors]
    if absent:
        raise VerificationError(f"the reference finds no output {', '.join(absent)} in the checkpoint")
    labels = reference.labels
    if labels is None:
        return expected
    largest = max(float(np.abs(each.vectors[labels.output]).max()) for each in expected)
    activation = "identity" if recipe.logits else labels.activation
    labels = labels._replace(activation=activation, largest=largest, names=recipe.labels or labels.names)
    return [each._replace(labels=labels) for each in expected]


def read(path: Path) -> list[Expected]:
    """The answers that :func:`write` stored.

    Raises:
        SourceNotFound: there is no such file.
        CorruptSource: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        kept = json.loads(arrays["answers"].tobytes())
        labels = Labels(**{**state, "names": tuple(state["names"])}) if (state := kept["labels"]) else None
        return [
            Expected(
                tuple(bytes.fromhex(part["hex"]) if isinstance(part, dict) else part for part in texts),
                ReferenceTokens(**tokens),
                {name: arrays[f"{name}:{number}"] for name in kept["outputs"]},
                labels,
            )
            for texts, tokens, number in kept["samples"]
        ]
    except FileNotFoundError:
        raise SourceNotFound(
            f"{path} does not exist: without stored answers, name the checkpoint with --source"
        ) from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CorruptSource(
            f"{path} is not a readable record of a verification; name the checkpoint with --source: {error}"
        ) from error


def write(path: Path, expected: Sequence[Expected], signatures: Sequence[str]) -> None:
    """Store a reference's answers, with the outputs of these signatures.

    Raises:
        OutputError: the file cannot be written.
    """
    names, labels = _measured(signatures), expected[0].labels
    kept: list[Any] = []
    numbers: dict[tuple[int, ...], int] = {}
    arrays: dict[str, Any] = {}
    for each in expected:
        texts = [part if isinstance(part, str) else {"hex": part.hex()} for part in each.text]
        number = numbers.setdefault((*each.tokens.ids, *each.tokens.types), len(numbers))
        kept.append((texts, asdict(each.tokens), number))
        arrays.update({f"{name}:{number}": each.vectors[name].astype(np.float32) for name in names})
    state = {"outputs": names, "samples": kept, "labels": labels and labels._asdict()}
    arrays["answers"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    try:
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, **arrays)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _measured(signatures: Sequence[str]) -> list[str]:
    """Names of the outputs that are compared within a tolerance."""
    return sorted({each.name for name in signatures for each in signature(name).outputs if not each.kind.exact})


def quote(texts: Texts) -> str:
    """A text or pair for people, in ASCII and not too long."""
    return " with ".join(ascii(text[:60]) + ("..." if len(text) > 60 else "") for text in texts)
