"""Settings of the gateway: model names and limits. Frozen, validated."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

#: Target of an alias: a model, optionally with a label or a version.
_TARGET: Final = r"([^@]+)(?:@(\d+)|@([^@]+))?"


@dataclass(frozen=True)
class Limits:
    """Limits of requests.

    Args:
        body_bytes: maximum size of a request.
        texts: maximum number of texts, or documents, in a request; the default is OpenAI's.
        requests_per_minute: rate for each API key, or without keys for each address; 0 for no limit. A burst may
            have as many requests.
        concurrent_requests: maximum number of requests in progress.

    Raises:
        ValueError: a limit below 1.
    """

    body_bytes: int = 16_000_000
    texts: int = 2048
    requests_per_minute: int = 0
    concurrent_requests: int = 512

    def __post_init__(self) -> None:
        for each in fields(self):
            least = 0 if each.name == "requests_per_minute" else 1
            if getattr(self, each.name) < least:
                raise ValueError(f"{each.name} is {getattr(self, each.name)}: give {least} or more")


class Served(NamedTuple):
    """A name for clients.

    Attributes:
        name: the name.
        model: the model on the server.
        version, version_label: version of the model; if both are ``None``, that of the gateway's client.
    """

    name: str
    model: str
    version: int | None = None
    version_label: str | None = None


def names(models: Iterable[str], aliases: Mapping[str, str]) -> dict[str, Served]:
    """All names for clients, the models first.

    Args:
        models: names of models on the server.
        aliases: additional name -> one of the models, also as ``MODEL@LABEL`` or ``MODEL@VERSION``.

    Raises:
        TypeError: ``models`` is a single name.
        ValueError: no models, or an invalid alias.
    """
    if isinstance(models, str):
        raise TypeError(f"models is a single str; give a list of names, such as [{models!r}]")
    found = {name: Served(name, name) for name in models}
    if not found:
        raise ValueError("models is empty: name the models that the server has")
    if "" in found:
        raise ValueError("a model's name is empty: give a name")
    for alias, target in aliases.items():
        match = re.fullmatch(_TARGET, target)
        if not alias or match is None or match[1] not in models:
            raise ValueError(
                f"alias {alias!r} is for {target!r}: give a model of {', '.join(models)}, or MODEL@LABEL, MODEL@VERSION"
            )
        if alias in models:
            raise ValueError(f"alias {alias!r} is also the name of a model: choose another")
        found[alias] = Served(alias, match[1], None if match[2] is None else int(match[2]), match[3])
    return found
