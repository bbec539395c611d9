"""Choice of the signature and output of a model with one vector per text."""

from collections.abc import Iterable, Mapping
from typing import TypedDict

import click
import grpc

from ..client.client import Client
from ..contract import DEFAULT_SIGNATURE, EMBED, SIGNATURES, TEXT, Kind
from ..errors import ServingError
from ..wire.messages import ModelMetadata, SignatureInfo

#: Outputs that are not vectors of texts, such as scores, even if they have the shape of vectors.
_OTHERS = {output.name for each in SIGNATURES for output in each.outputs if output.kind is not Kind.VECTOR}
_FLOATS = ("float32", "float64", "float16", "bfloat16")
#: Status codes of servers without GetModelMetadata.
_NO_METADATA = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


class Choice(TypedDict):
    """Keyword arguments of the client's ``embed`` and ``embed_iter``."""

    signature_name: str
    output_name: str


def signatures(client: Client) -> Mapping[str, SignatureInfo]:
    """The signatures of the model; empty if the server does not report them.

    Raises:
        ServingError: the server does not answer, or has no such model.
    """
    try:
        model: ModelMetadata = client.metadata()
    except ServingError as error:
        if error.code not in _NO_METADATA:
            raise
        return {}
    return model.signatures


def vector_output(
    found: Mapping[str, SignatureInfo], signature: str | None = None, output: str | None = None
) -> Choice:
    """The signature and output of a model for vectors.

    Args:
        found: the model's signatures; see :func:`signatures`.
        signature: the requested signature; by default ``embed``, else the default signature if it has one float
            vector per text, else the only signature that has one.
        output: the requested output.

    Raises:
        click.UsageError: there is no such output, or there are several.
    """
    if not found or (signature is not None and signature not in found):
        # The server's own answer reports the fault.
        name = signature or EMBED.name
        known = next((each.vector for each in SIGNATURES if each.name == name), None) or EMBED.vector
        assert known is not None
        return {"signature_name": name, "output_name": output or known.name}
    first = signature or (EMBED.name if EMBED.name in found else DEFAULT_SIGNATURE)
    choices = _choices(found, [first], output)
    if not choices and signature is None:
        choices = _choices(found, found, output)
    if len(choices) == 1:
        return {"signature_name": choices[0][0], "output_name": choices[0][1]}
    listed = ", ".join(f"--signature {name} --output-name {each}" for name, each in choices)
    if listed:
        raise click.UsageError(f"the model has several vectors per text: choose one of {listed}")
    asked = f"signature {signature!r}" if signature else "model"
    raise click.UsageError(
        f"the {asked} has no output{f' {output!r}' if output else ''} with one float vector per text, for an input "
        f"{TEXT!r}; see rawbert metadata, and give --signature and --output-name"
    )


def _choices(found: Mapping[str, SignatureInfo], names: Iterable[str], output: str | None) -> list[tuple[str, str]]:
    """Signatures with their outputs of one float vector per text."""
    choices = []
    for name in names:
        info = found.get(name)
        if info is None or list(info.inputs) != [TEXT]:
            continue
        vectors = [
            spec.name
            for spec in info.outputs.values()
            if spec.dtype in _FLOATS
            and spec.name not in _OTHERS
            and (spec.shape is None or len(spec.shape) == 2)
            and output in (None, spec.name)
        ]
        declared = [each.vector.name for each in SIGNATURES if each.name == name and each.vector is not None]
        choices += [(name, each) for each in declared if each in vectors] or [(name, each) for each in vectors]
    return choices
