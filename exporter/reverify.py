"""Verification of a published version, or of a server that is to answer as it does, at any later time."""

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

#: Tolerance and smallest cosine for a GPU that multiplies in TF32, with 10 bits of mantissa in place of 23. Rounding
#: the operands of all-MiniLM-L6-v2 (6 layers) so moves its vectors by 4.7e-4 at most, and a cosine to 0.999998; ten
#: times that leaves room for deeper models. A wrong tokenizer, layer or pooling is off by far more.
TF32 = (5e-3, 0.9999)


def recipe_of(
    folder: Path, tolerance: float | None = None, min_cosine: float | None = None, tf32: bool = False
) -> Recipe:
    """The recipe of a version.

    Args:
        folder: a version folder that ``rawbert export`` wrote.
        tolerance, min_cosine: in place of the export's own.
        tf32: the export's own are widened to :data:`TF32`, where they are not as wide as that.

    Raises:
        CorruptSource: the manifest is missing, or does not say what is needed.
    """
    recipe = manifest.recipe_of(folder)
    if tolerance is None:
        tolerance = max(recipe.tolerance, TF32[0]) if tf32 else recipe.tolerance
    if min_cosine is None:
        min_cosine = min(recipe.min_cosine, TF32[1]) if tf32 else recipe.min_cosine
    return dataclasses.replace(recipe, tolerance=tolerance, min_cosine=min_cosine)


def verify_folder(folder: Path, recipe: Recipe, source: str | os.PathLike[str] | None = None) -> Report:
    """Load the version in a fresh process and compare it with its source, or without one with the answers kept in it.

    Raises:
        SourceError: the source or the answers cannot be used.
        VerificationError: the comparison could not be made. What differs is in the report.
    """
    if source is None:
        answers.read(folder / answers.FILE)  # what cannot be read is named here, in words
        report = verify.run(verify.Task(folder, recipe))
    else:
        with sources.fetched(source) as location:
            report = verify.run(verify.Task(folder, recipe, location.folder))
    # A small change of what was exported may be smaller than what is allowed.
    made = (manifest.read(folder) or {}).get("content_hash") or {}
    try:
        found = content_hash(folder, saved_model.read(folder).meta_graphs[0])
    except (saved_model.Unreadable, Unhashable, CorruptIndex, OSError) as error:
        report.mismatches.append(f"what was exported cannot be told from what is there: {error}")
    else:
        report.mismatches += [
            f"{part}: the hash is {value}, and the manifest has {made.get(part)}: it was changed after the export"
            for part, value in found.items()
            if part != "content" and made.get(part) != value and scheme_of(made.get(part, value)) == scheme_of(value)
        ]
    return report


def verify_server(folder: Path, recipe: Recipe, client: Any) -> Report:
    """Compare the answers of a server with those kept in a version.

    Args:
        folder: the version.
        recipe: see :func:`recipe_of`.
        client: a :class:`rawbert.serving.Client` of the model and version.

    Raises:
        SourceError: the answers that were kept cannot be used.
        VerificationError: the server does not answer.
    """
    from ..serving import ServingError

    expected = answers.read(folder / answers.FILE)
    try:
        return verify.hold(recipe, expected, _Server(client))
    except ServingError as error:
        raise VerificationError(f"the server at {client.address} could not be compared: {error}") from error


class _Server:
    """A :class:`.model.Model` on a server."""

    is_shared = True

    def __init__(self, client: Any) -> None:
        self._client = client
        self.signatures: Mapping[str, SignatureInfo] = client.metadata().signatures

    def answer(self, signature: str, texts: Mapping[str, list[bytes]]) -> Mapping[str, np.ndarray]:
        """Outputs of a signature by name, for texts by the input's name."""
        # As objects: numpy's own string types drop NULs at the end.
        inputs = {name: np.array(column, object) for name, column in texts.items()}
        answered: dict[str, np.ndarray] = self._client.predict(inputs, signature_name=signature)
        return answered
