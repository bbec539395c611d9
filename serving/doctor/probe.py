"""The server to examine, and its measurements: each is made once, by the first check that needs it."""

import itertools
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import grpc
import numpy as np
from google.protobuf import text_format

from ..contract import DEFAULT_SIGNATURE, TEXT, TEXT_PAIR, TOKENIZE, Kind, declared_outputs
from ..errors import DecodeError, ServerOverloaded, ServerUnavailable, ServingError
from ..listening import joined
from ..wire import messages
from ..wire.codec import Array
from ..wire.messages import ModelMetadata, Target, VersionStatus
from ..wire.protos import ModelServerConfig, PredictRequest, PredictResponse
from .finding import NotKnown
from .link import REPEATED, Link
from .rest import Rest

#: Seconds and rounds in which calls are made at once: those of a fast model seldom meet.
_RUSH, _TURNS = 0.3, 4
#: A text of some length.
_SHORT, LONG = b"The doctor calls.", b"The quick brown fox jumps over the lazy dog. " * 12


@dataclass(frozen=True)
class Times:
    """Durations in seconds of calls with one text to a signature: the first, and the fastest of the later ones."""

    first: float
    later: float


@dataclass(frozen=True)
class Probe(Link):
    """A server and one of its models.

    Attributes:
        version, version_label: the version to call, by number or by label; the newest if neither is given.
        rest: address of the REST API, ``host:port`` or a URL; by default, the port after the gRPC port.
        models: folder with the server's models.config, if this machine can read it.
        callers: number of concurrent calls that the server must accept; 0 skips these calls.
    """

    version: int | None = None
    version_label: str | None = None
    rest: str | None = None
    models: Path | None = None
    callers: int = 8

    @cached_property
    def http(self) -> Rest:
        """The REST API at the given address, or else at the port after the gRPC port."""
        guessed = joined(self.host_port[0], self.host_port[1] + 1) if self.host_port else ""
        return Rest(self.rest or guessed, self.model, named=self.rest is not None)

    def status(self) -> list[VersionStatus]:
        """The current states of the versions, newest first."""
        request = messages.status_request(Target(self.model))
        return messages.status_answer(self.call(messages.GET_MODEL_STATUS, request))

    @cached_property
    def states(self) -> list[VersionStatus]:
        """The states of the versions at the first call."""
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

    @property
    def folder_name(self) -> str:
        """The name of the folder with the model's versions."""
        return self.model if self.listed is None else PurePosixPath(self.listed.base_path).name

    def target(self, signature: str = "") -> Target:
        """The requested version, and a signature."""
        return Target(self.model, self.version, self.version_label, signature)

    def labelled(self, label: str) -> int:
        """The version of a label, as the server answers."""
        request = messages.metadata_request(Target(self.model, version_label=label))
        return messages.metadata_answer(self.call(messages.GET_MODEL_METADATA, request)).version

    @cached_property
    def described(self) -> ModelMetadata:
        """The requested version's number and signatures."""
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
        """The outputs of a signature of rawbert that are of one of the kinds."""
        inputs = {name: list(info.inputs) for name, info in self.described.signatures.items()}
        return [output.name for output in declared_outputs(signature, inputs) if output.kind in kinds]

    @property
    def cheapest(self) -> str:
        """The signature with the least work for the server: ``tokenize``, or else the first."""
        if not self.signatures:
            raise NotKnown("the model has no signature that takes only texts")
        return TOKENIZE.name if TOKENIZE.name in self.signatures else next(iter(self.signatures))

    def request(self, signature: str, texts: list[bytes]) -> bytes:
        """A serialized Predict request; for a signature of pairs, each text is paired with itself."""
        pair = len(self.signatures[signature]) > 1
        return messages.text_request(self.target(signature), [(text, text) if pair else (text,) for text in texts])

    def predict(self, signature: str, texts: list[bytes]) -> dict[str, Array]:
        """The outputs for texts by name, each of shape (texts, ...)."""
        return messages.predict_answer(self.call(messages.PREDICT, self.request(signature, texts)))[0]

    @cached_property
    def times(self) -> Mapping[str, Times | ServingError]:
        """The durations of calls to each signature, or its error. The first calls to the model are made here."""
        self.round_trip  # noqa: B018 connects, so that no duration includes it
        found: dict[str, Times | ServingError] = {}
        for name in self.signatures:
            try:
                taken = [self._timed(name) for _ in range(1 + REPEATED)]
            except ServingError as error:
                found[name] = error
            else:
                found[name] = Times(taken[0], min(taken[1:]))
        if not found:
            raise NotKnown("the model has no signature that takes only texts")
        return found

    def _timed(self, signature: str, rows: int = 1) -> float:
        request = self.request(signature, [_SHORT] * rows)
        begun = time.monotonic()
        data = self.call(messages.PREDICT, request)
        taken = time.monotonic() - begun
        messages.predict_answer(data)
        return taken

    def fastest(self, signature: str, rows: int) -> float:
        """Duration in seconds of a call with ``rows`` equal short texts, the fastest of several."""
        return min(self._timed(signature, rows) for _ in range(REPEATED))

    @cached_property
    def answer(self) -> dict[str, Any]:
        """The float32 TensorProtos of an answer, by output name, from the first signature that has some."""
        self.times  # noqa: B018 measures the first calls
        for name in self.signatures:
            if isinstance(self.times[name], Times):
                data = self.call(messages.PREDICT, self.request(name, [_SHORT, _SHORT]))
                outputs = PredictResponse.FromString(data).outputs
                floats = {output: tensor for output, tensor in outputs.items() if tensor.dtype == 1}
                if floats:
                    return floats
        raise NotKnown("no signature answers with float32")

    @cached_property
    def batched(self) -> bool:
        """Whether the server batches calls: the batcher refuses a scalar with an error of its own."""
        self.times  # noqa: B018 measures the first calls
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
        """Largest number of texts in a call; ``None`` if the server accepts 5000."""
        try:
            self.call(messages.PREDICT, self.request(self.cheapest, [b""] * 5000))
        except ServingError as error:
            if found := re.search(r"larger than maximum input batch size (\d+)", error.details):
                return int(found[1])
            raise
        return None

    @cached_property
    def rush(self) -> list[ServingError | None]:
        """The errors of concurrent calls, or ``None`` for an answer, from the round with the most errors."""
        if not self.callers:
            raise NotKnown("no concurrent calls were made (--callers 0)")
        timed = {name: times.later for name, times in self.times.items() if isinstance(times, Times)}
        if not timed:
            raise NotKnown("no signature answers")
        # The slowest signature that does not have large answers.
        small = {name: seconds for name, seconds in timed.items() if not self.outputs(name, (Kind.TOKEN_VECTOR,))}
        signature = max(small or timed, key=lambda name: timed[name])
        # Each call takes long enough for all of them to overlap.
        rows = min(int(np.clip(0.1 / timed[signature], 1, 32)), self.batch_limit or 32 if self.batched else 32)
        request = self.request(signature, [LONG] * rows)
        opened = [self.open(1 + at, http_proxy=self.proxied is None) for at in range((self.callers + 7) // 8)]
        try:
            worst: list[ServingError | None] = []
            end = time.monotonic() + _RUSH
            for turn in itertools.count(1):
                calls = [
                    opened[at // 8].unary_unary(messages.PREDICT).future(
                        request, timeout=self.timeout, metadata=self.metadata
                    )
                    for at in range(self.callers)
                ]  # fmt: skip
                ends = [self._end(call) for call in calls]
                if not worst or sum(map(bool, ends)) > sum(map(bool, worst)):
                    worst = ends
                if any(ends) or (turn >= _TURNS and time.monotonic() > end):
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
