"""One server and its measurements: the first check that needs a measurement makes it, once."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import text_format

from ..client import channel as channels
from ..client.settings import DEFAULT_TIMEOUT, TLS, ChannelConfig
from ..contract import DEFAULT_SIGNATURE, TEXT, TEXT_PAIR, TOKENIZE, Kind, declared_outputs
from ..errors import DecodeError, ModelNotFound, ServerOverloaded, ServerUnavailable, ServingError, from_status
from ..wire import messages
from ..wire.codec import Array
from ..wire.messages import ModelMetadata, Target, VersionStatus
from ..wire.protos import ModelServerConfig, PredictRequest, PredictResponse
from .finding import NotKnown
from .rest import Rest

#: Seconds that the first call may take.
_CONNECT = 10.0
#: Variables of the environment, in gRPC's order (grpc/doc/environment_variables.md).
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTED = ("no_grpc_proxy", "no_proxy")
#: Attempts of a call that a busy server refuses.
_ATTEMPTS = 5
#: A text of some length.
_SHORT, LONG = b"The doctor calls.", b"The quick brown fox jumps over the lazy dog. " * 12
#: Calls beside the first one, of which the fastest counts.
_REPEATED = 4


@dataclass(frozen=True)
class Times:
    """Seconds of calls of one text to a signature: the first, and the fastest of the later ones."""

    first: float
    later: float


@dataclass(frozen=True)
class Probe:
    """A server to be examined.

    Attributes:
        address: ``host:port`` of its gRPC port, or ``unix:path``.
        model: the model's name on the server.
        version, version_label: which version is asked; the newest if neither is given.
        timeout: seconds for each call.
        tls: TLS; ``None`` for plain text.
        metadata: gRPC metadata of every call.
        rest: address of the REST API, ``host:port`` or a URL; the next port is tried if left out.
        models: folder with models.config that the server serves, where this machine sees it.
        callers: calls at once that it must stand; 0 leaves them out.
    """

    address: str
    model: str = "default"
    version: int | None = None
    version_label: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    tls: TLS | None = None
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    rest: str | None = None
    models: Path | None = None
    callers: int = 8

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *raised: object) -> None:
        for name in ("_through_environment", "_direct"):
            if name in self.__dict__:
                self.__dict__[name].close()

    # -- the connection

    def open(self, fresh: int = 0, *, http_proxy: bool = True) -> Any:
        """A channel; another number ``fresh`` gives another connection."""
        config = ChannelConfig(http_proxy=http_proxy)
        return channels.make(grpc, config, self.tls, channels.addresses(self.address)[0], fresh)

    @cached_property
    def _through_environment(self) -> Any:
        return self.open()

    @cached_property
    def _direct(self) -> Any:
        return self.open(http_proxy=False)

    @cached_property
    def proxied(self) -> ServingError | None:
        """Why a call fails with the proxy of the environment, if there is one for this address."""
        return self._reached_by(self._through_environment)

    @cached_property
    def direct(self) -> ServingError | None:
        """Why a call fails without a proxy."""
        return self._reached_by(self._direct)

    def _reached_by(self, channel: Any) -> ServingError | None:
        try:
            request = messages.status_request(Target(self.model))
            messages.status_answer(self._call(channel, messages.GET_MODEL_STATUS, request, min(self.timeout, _CONNECT)))
        except ModelNotFound as error:
            return error if error.code is grpc.StatusCode.UNIMPLEMENTED else None
        except ServingError as error:
            return error
        return None

    @cached_property
    def unreached(self) -> ServingError | None:
        """The reason for a failed connection; ``None`` if the server answers."""
        return self.proxied if self.proxied is None or self.proxy is None else self.direct

    @cached_property
    def proxy(self) -> str | None:
        """The variable of the environment by which gRPC takes a proxy for this address."""
        name = next((each for each in _PROXIES if os.environ.get(each)), None)
        if name is None or self.host is None:
            return None
        excepted = next((each for each in map(os.environ.get, _EXCEPTED) if each), "")
        return None if any(_covers(entry.strip(), self.host) for entry in excepted.split(",")) else name

    @cached_property
    def channel(self) -> Any:
        """The channel that all checks use: without a proxy, where that is in the way."""
        if self.unreached is not None:
            raise NotKnown("the server was not reached")
        return self._through_environment if self.proxied is None else self._direct

    @cached_property
    def host_port(self) -> tuple[str, int] | None:
        """Host and port of the address; ``None`` if it has none, such as ``unix:path``."""
        found = re.fullmatch(r"(?:dns:(?:///)?|ipv[46]:)?(?:\[([^\]]+)\]|([^/:\[\]]+)):(\d+)", self.address)
        return (found[1] or found[2], int(found[3])) if found else None

    @property
    def host(self) -> str | None:
        """Its host."""
        return self.host_port[0] if self.host_port else None

    @cached_property
    def ips(self) -> list[Any]:
        """The IP addresses of the host; empty if the lookup fails or the address has no host."""
        if self.host_port is None:
            return []
        try:
            infos = socket.getaddrinfo(*self.host_port, type=socket.SOCK_STREAM)
        except OSError:
            return []
        return [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos]

    def call(self, path: str, request: bytes, channel: Any = None) -> bytes:
        """The answer to one call, as bytes; a busy server gets several attempts.

        Raises:
            NotKnown: the server cannot be reached at all.
            ServingError: the call failed.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self._call(channel or self.channel, path, request, self.timeout)
            except (ServerOverloaded, ServerUnavailable):
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.1 * 2**attempt)
        raise AssertionError

    def _call(self, channel: Any, path: str, request: bytes, timeout: float) -> bytes:
        try:
            answer: bytes = channel.unary_unary(path)(request, timeout=timeout, metadata=self.metadata)
        except grpc.RpcError as error:
            raise self.failure(error, path) from error
        return answer

    def failure(self, error: Any, path: str) -> ServingError:
        """The client's exception for a failed call."""
        connection = ["plain"] if self.tls is None else ["identified" if self.tls.certificate else "anonymous"]
        what = f"{path.rpartition('/')[2]} of model {self.model!r}"
        return from_status(error.code(), error.details() or "", what, self.address, connection=connection)

    @cached_property
    def round_trip(self) -> float:
        """Seconds of the fastest of some calls that no model sees."""
        request = messages.status_request(Target(self.model))
        taken = []
        for _ in range(_REPEATED):
            begun = time.monotonic()
            self.call(messages.GET_MODEL_STATUS, request)
            taken.append(time.monotonic() - begun)
        return min(taken)

    @cached_property
    def http(self) -> Rest:
        """The REST API: that which was named, or on the next port."""
        guessed = f"{self.host_port[0]}:{self.host_port[1] + 1}" if self.host_port else ""
        return Rest(self.rest or guessed, self.model, named=self.rest is not None)

    # -- the model

    def status(self) -> list[VersionStatus]:
        """The states of the versions now, newest first."""
        request = messages.status_request(Target(self.model))
        return messages.status_answer(self.call(messages.GET_MODEL_STATUS, request))

    @cached_property
    def states(self) -> list[VersionStatus]:
        """The states at the first look."""
        return self.status()

    @cached_property
    def listed(self) -> Any:
        """The model's entry in models.config; ``None`` without an entry or a local file."""
        if self.models is None:
            return None
        try:
            text = (self.models / "models.config").read_text(encoding="utf-8")
            config = text_format.Parse(text, ModelServerConfig())
        except (OSError, ValueError, text_format.ParseError) as error:
            raise NotKnown(f"{self.models / 'models.config'} cannot be read: {error}") from error
        return next((model for model in config.model_config_list.config if model.name == self.model), None)

    def target(self, signature: str = "") -> Target:
        """The requested version, and a signature."""
        return Target(self.model, self.version, self.version_label, signature)

    def labelled(self, label: str) -> int:
        """The version that a label means, by the server."""
        request = messages.metadata_request(Target(self.model, version_label=label))
        return messages.metadata_answer(self.call(messages.GET_MODEL_METADATA, request)).version

    @cached_property
    def described(self) -> ModelMetadata:
        """The signatures, and the version that has them."""
        return messages.metadata_answer(
            self.call(messages.GET_MODEL_METADATA, messages.metadata_request(self.target()))
        )

    @cached_property
    def signatures(self) -> dict[str, tuple[str, ...]]:
        """The signatures with only text inputs, and the inputs; the default one, an alias, only if no other exists."""
        found = {
            name: tuple(info.inputs)
            for name, info in self.described.signatures.items()
            if set(info.inputs) in ({TEXT}, {TEXT, TEXT_PAIR})
            and all(spec.dtype == "string" for spec in info.inputs.values())
        }
        return {name: inputs for name, inputs in found.items() if name != DEFAULT_SIGNATURE or len(found) == 1}

    def outputs(self, signature: str, kinds: Collection[Kind]) -> list[str]:
        """The outputs of a signature of ours that are of one of some kinds."""
        inputs = {name: list(info.inputs) for name, info in self.described.signatures.items()}
        return [output.name for output in declared_outputs(signature, inputs) if output.kind in kinds]

    @property
    def cheapest(self) -> str:
        """The signature that costs a server least: the tokens, or else the first."""
        if not self.signatures:
            raise NotKnown("the model has no signature that takes texts alone")
        return TOKENIZE.name if TOKENIZE.name in self.signatures else next(iter(self.signatures))

    def request(self, signature: str, texts: list[bytes]) -> bytes:
        """A Predict request; each text is its own pair where pairs are taken."""
        pair = len(self.signatures[signature]) > 1
        return messages.text_request(self.target(signature), [(text, text) if pair else (text,) for text in texts])

    def predict(self, signature: str, texts: list[bytes]) -> dict[str, Array]:
        """Outputs by name."""
        return messages.predict_answer(self.call(messages.PREDICT, self.request(signature, texts)))[0]

    @cached_property
    def times(self) -> Mapping[str, Times | ServingError]:
        """How long each signature takes; the error of one that fails. The first calls to the model are made here."""
        self.round_trip  # noqa: B018 the connection is made, and counts for none of them
        found: dict[str, Times | ServingError] = {}
        for name in self.signatures:
            try:
                taken = [self._timed(name) for _ in range(1 + _REPEATED)]
            except ServingError as error:
                found[name] = error
            else:
                found[name] = Times(taken[0], min(taken[1:]))
        if not found:
            raise NotKnown("the model has no signature that takes texts alone")
        return found

    def _timed(self, signature: str, rows: int = 1) -> float:
        request = self.request(signature, [_SHORT] * rows)
        begun = time.monotonic()
        data = self.call(messages.PREDICT, request)
        taken = time.monotonic() - begun
        messages.predict_answer(data)
        return taken

    def fastest(self, signature: str, rows: int) -> float:
        """Seconds of the fastest of some calls with this number of equal short texts."""
        return min(self._timed(signature, rows) for _ in range(_REPEATED))

    @cached_property
    def answer(self) -> dict[str, Any]:
        """The tensors of one answer as the server encoded them, by output, of the first signature with floats."""
        self.times  # noqa: B018 first calls are counted there
        for name in self.signatures:
            if isinstance(self.times[name], Times):
                data = self.call(messages.PREDICT, self.request(name, [_SHORT, _SHORT]))
                outputs = PredictResponse.FromString(data).outputs
                floats = {output: tensor for output, tensor in outputs.items() if tensor.dtype == 1}
                if floats:
                    return floats
        raise NotKnown("no signature answers float32")

    @cached_property
    def batched(self) -> bool:
        """Whether the server batches calls: its batcher refuses a scalar with its own error."""
        self.times  # noqa: B018 first calls are counted there
        request = PredictRequest(model_spec=self.target(self.cheapest).spec())
        for name in self.signatures[self.cheapest]:
            request.inputs[name].dtype = 7
            request.inputs[name].tensor_shape.SetInParent()
            request.inputs[name].string_val.append(_SHORT)
        try:
            self.call(messages.PREDICT, request.SerializeToString())
        except (ServerUnavailable, ServerOverloaded) as error:
            raise NotKnown(str(error)) from error
        except ServingError as error:
            return "Batching Run()" in error.details
        return False

    @cached_property
    def batch_limit(self) -> int | None:
        """Most texts in one call; ``None`` where the server took more than anybody sends."""
        try:
            self.call(messages.PREDICT, self.request(self.cheapest, [b""] * 5000))
        except ServingError as error:
            if found := re.search(r"larger than maximum input batch size (\d+)", error.details):
                return int(found[1])
            raise
        return None

    @cached_property
    def rush(self) -> list[ServingError | None]:
        """How calls ended that were made all at once, in the round in which most were refused."""
        if not self.callers:
            raise NotKnown("no calls at once were made (--callers 0)")
        timed = {name: times.later for name, times in self.times.items() if isinstance(times, Times)}
        if not timed:
            raise NotKnown("no signature answers")
        # The slowest, but for those whose answers are large.
        small = {name: seconds for name, seconds in timed.items() if not self.outputs(name, (Kind.TOKEN_VECTOR,))}
        signature = max(small or timed, key=lambda name: timed[name])
        # Each call takes long enough for all to be on their way at once.
        rows = min(int(np.clip(0.1 / timed[signature], 1, 32)), self.batch_limit or 32 if self.batched else 32)
        request = self.request(signature, [LONG] * rows)
        opened = [self.open(1 + at, http_proxy=self.proxied is None) for at in range((self.callers + 7) // 8)]
        try:
            worst: list[ServingError | None] = []
            for _ in range(4):
                calls = [
                    opened[at // 8].unary_unary(messages.PREDICT).future(
                        request, timeout=self.timeout, metadata=self.metadata
                    )
                    for at in range(self.callers)
                ]  # fmt: skip
                ends = [self._end(call) for call in calls]
                if not worst or sum(map(bool, ends)) > sum(map(bool, worst)):
                    worst = ends
                if any(ends):
                    break
        finally:
            for channel in opened:
                channel.close()
        return worst

    def _end(self, call: Any) -> ServingError | None:
        error = call.exception()
        if error is not None and not isinstance(error, grpc.RpcError):
            raise DecodeError(str(error)) from error
        return None if error is None else self.failure(error, messages.PREDICT)


def _covers(entry: str, host: str) -> bool:
    """Whether an entry of no_proxy means a host: a name, its end, a range of IP addresses, or ``*``."""
    if not entry:
        return False
    if entry == "*" or host.lower().endswith(entry.lower()):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
