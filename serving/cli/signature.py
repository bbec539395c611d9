"""Which signature and output of a model give one vector a text."""

from collections.abc import Iterable, Mapping
from typing import TypedDict

import click
import grpc

from ..client.client import Client
from ..contract import DEFAULT_SIGNATURE, EMBED, SIGNATURES, TEXT, Kind
from ..errors import ServingError
from ..wire.messages import ModelMetadata, SignatureInfo

#: Outputs that are no vectors of texts whatever their shape, such as scores.
_OTHERS = {output.name for each in SIGNATURES for output in each.outputs if output.kind is not Kind.VECTOR}
_FLOATS = ("float32", "float64", "float16", "bfloat16")
#: What a server answers that has no GetModelMetadata.
_NO_METADATA = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


class Choice(TypedDict):
    """Keyword arguments of the client's ``embed`` and ``embed_iter``."""

    signature_name: str
    output_name: str


def signatures(client: Client) -> Mapping[str, SignatureInfo]:
    """The signatures of the model; none where the server does not tell.

    Raises:
        ServingError: it does not answer, or has no such model.
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
    """What to ask a model for where vectors are wanted.

    Args:
        found: the model's signatures; see :func:`signatures`.
        signature: the one that was asked for; ``embed`` if left out, else the default signature where it has one
            float vector a text, else the one signature that has.
        output: the output that was asked for.

    Raises:
        click.UsageError: there is no such output, or a choice of several.
    """
    if not found or (signature is not None and signature not in found):
        # The server's own answer says what is wrong.
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
        raise click.UsageError(f"the model gives several vectors a text: choose one of {listed}")
    asked = f"signature {signature!r}" if signature else "model"
    raise click.UsageError(
        f"the {asked} has no output{f' {output!r}' if output else ''} with one float vector a text, for an input "
        f"{TEXT!r}; rawbert metadata shows what there is, --signature and --output-name name it"
    )


def _choices(found: Mapping[str, SignatureInfo], names: Iterable[str], output: str | None) -> list[tuple[str, str]]:
    """Signatures with their outputs that are one float vector a text."""
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
