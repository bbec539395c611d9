"""Verification of a published version, or of a server that is to answer as it does, at any later time."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import sources
from ..errors import CorruptSource, VerificationError
from ..publish import manifest
from ..recipe import TokenizerOptions
from . import answers, verify

__all__ = ["TF32", "job_of", "verify_folder", "verify_server"]

#: Tolerance and smallest cosine for a GPU that multiplies in TF32, with 10 bits of mantissa in place of 23. Rounding
#: the operands of all-MiniLM-L6-v2 (6 layers) so moves its vectors by 4.7e-4 at most, and a cosine to 0.999998; ten
#: times that leaves room for deeper models. A wrong tokenizer, layer or pooling is off by far more.
TF32 = (5e-3, 0.9999)


def job_of(
    folder: Path, tolerance: float | None = None, min_cosine: float | None = None, tf32: bool = False
) -> verify.Job:
    """What the export verified, to be compared with the record of it.

    Args:
        folder: a version folder that ``rawbert export`` wrote.
        tolerance, min_cosine: in place of the export's own.
        tf32: the export's own are widened to :data:`TF32`, where they are not as wide as that.

    Raises:
        CorruptSource: the manifest is missing, or does not say what is needed.
    """
    made = manifest.read(folder)
    if made is None:
        raise CorruptSource(f"{folder / manifest.FILE} cannot be read: was the folder written by rawbert export?")
    try:
        recipe, checked = made["pooling"], made["verification"]
        own = (checked["tolerance"], checked["min_cosine"])
        if tf32:
            own = (max(own[0], TF32[0]), min(own[1], TF32[1]))
        return verify.Job(
            saved_model=str(folder),
            source=None,
            is_hub=made["source"]["kind"] == "hub",
            signatures=tuple(name for name in made["signatures"] if name != "serving_default"),
            default=made["serving_default"],
            max_seq_length=made["max_seq_length"],
            pooling=tuple(recipe["modes"]) if recipe and made["pooling_overridden"] else None,
            normalize=bool(recipe and "normalize" in recipe["steps"]),
            tolerance=own[0] if tolerance is None else tolerance,
            min_cosine=own[1] if min_cosine is None else min_cosine,
            tokenization=TokenizerOptions(**made["tokenization"]),
            record=str(folder / answers.FILE),
        )
    except (KeyError, TypeError) as error:
        raise CorruptSource(
            f"{folder / manifest.FILE} does not say {error}: it is of another release of rawbert"
        ) from error


def verify_folder(job: verify.Job, source: str | os.PathLike[str] | None = None) -> verify.Report:
    """Load the version in a fresh process and compare it with its source, or without one with the record.

    Raises:
        SourceError: the source or the record cannot be used.
        VerificationError: the comparison could not be made. What differs stands in the report.
    """
    if source is None:
        verify.reference_of(job)  # a record that cannot be read is named here, in words
        return verify.run(job)
    with sources.fetched(source) as location:
        return verify.run(dataclasses.replace(job, source=str(location.folder), record=None))


def verify_server(job: verify.Job, client: Any) -> verify.Report:
    """Compare the answers of a server with the record.

    Args:
        job: see :func:`job_of`.
        client: a :class:`rawbert.serving.Client` of the model and version.

    Raises:
        SourceError: the record cannot be used.
        VerificationError: the server does not answer.
    """
    from ...serving import ServingError

    def answer(name: str, texts: Mapping[str, list[str | bytes]]) -> dict[str, np.ndarray]:
        # As objects: numpy's own string types drop NULs at the end.
        inputs = {
            key: np.array([text if isinstance(text, bytes) else text.encode() for text in column], object)
            for key, column in texts.items()
        }
        answers: dict[str, np.ndarray] = client.predict(inputs, signature_name=name)
        return answers

    reference = verify.reference_of(job)
    try:
        return verify.hold(job, reference, client.metadata().signatures, answer)
    except ServingError as error:
        raise VerificationError(f"the server at {client.address} could not be compared: {error}") from error
