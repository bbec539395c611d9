"""Later verification of a published version, or of a server with that version."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..serving.wire.messages import SignatureInfo
from . import sources
from .errors import VerificationError
from .proof import answers, verify
from .proof.comparison import Report
from .publish import manifest
from .recipe import Recipe
from .targets import saved_model
from .targets.content_hash import content_hash, scheme_of
from .targets.graph_hash import Unhashable
from .targets.tensor_bundle import CorruptIndex

#: Tolerance and smallest cosine for a GPU that multiplies in TF32, with 10 bits of mantissa in place of 23. With the
#: operands of all-MiniLM-L6-v2 (6 layers) rounded like this, its vectors move by at most 4.7e-4, and a cosine falls to
#: 0.999998; ten times that allows for deeper models. A wrong tokenizer, layer or pooling causes far larger errors.
TF32 = (5e-3, 0.9999)


def recipe_of(
    folder: Path, tolerance: float | None = None, min_cosine: float | None = None, tf32: bool = False
) -> Recipe:
    """The recipe of a version.

    Args:
        folder: a version folder that ``rawbert export`` wrote.
        tolerance, min_cosine: replacements for the export's own values.
        tf32: widen the export's own values to at least :data:`TF32`.

    Raises:
        CorruptSource: the manifest is missing or incomplete.
    """
    recipe = manifest.recipe_of(folder)
    if tolerance is None:
        tolerance = max(recipe.tolerance, TF32[0]) if tf32 else recipe.tolerance
    if min_cosine is None:
        min_cosine = min(recipe.min_cosine, TF32[1]) if tf32 else recipe.min_cosine
    return dataclasses.replace(recipe, tolerance=tolerance, min_cosine=min_cosine)


def verify_folder(folder: Path, recipe: Recipe, source: str | os.PathLike[str] | None = None) -> Report:
    """Load the version in a fresh process and compare it with its source, or with the answers stored in the version.

    Raises:
        SourceError: the source or the answers cannot be used.
        VerificationError: the comparison failed to run. Differences are in the report.
    """
    if source is None:
        answers.read(folder / answers.FILE)  # reports an unreadable file here, with a clear message
        report = verify.run(verify.Task(folder, recipe))
    else:
        with sources.fetched(source) as location:
            report = verify.run(verify.Task(folder, recipe, location.folder))
    # A small change of the weights may be within the tolerance.
    made = (manifest.read(folder) or {}).get("content_hash") or {}
    try:
        found = content_hash(folder, saved_model.read(folder).meta_graphs[0])
    except (saved_model.Unreadable, Unhashable, CorruptIndex, OSError) as error:
        report.mismatches.append(f"the content hash cannot be computed: {error}")
    else:
        report.mismatches += [
            f"{part}: the hash is {value}, but the manifest has {made.get(part)}: it was changed after the export"
            for part, value in found.items()
            if part != "content" and made.get(part) != value and scheme_of(made.get(part, value)) == scheme_of(value)
        ]
    return report


def verify_server(folder: Path, recipe: Recipe, client: Any) -> Report:
    """Compare the answers of a server with those stored in a version.

    Args:
        folder: the version.
        recipe: see :func:`recipe_of`.
        client: a :class:`rawbert.serving.Client` of the model and version.

    Raises:
        SourceError: the stored answers cannot be used.
        VerificationError: the server does not answer.
    """
    from ..serving import ServingError

    expected = answers.read(folder / answers.FILE)
    try:
        return verify.compare_answers(recipe, expected, _Server(client))
    except ServingError as error:
        raise VerificationError(
            f"the server at {client.address} could not be compared; check that it serves this version: {error}"
        ) from error


class _Server:
    """A :class:`.model.Model` on a server."""

    is_shared = True

    def __init__(self, client: Any) -> None:
        self._client = client
        self.signatures: Mapping[str, SignatureInfo] = client.metadata().signatures

    def answer(self, signature: str, texts: Mapping[str, list[bytes]]) -> Mapping[str, np.ndarray]:
        """Outputs of a signature by name, for texts by the input's name."""
        # As objects, because numpy's own string types drop trailing NULs.
        inputs = {name: np.array(column, object) for name, column in texts.items()}
        answered: dict[str, np.ndarray] = self._client.predict(inputs, signature_name=signature)
        return answered
