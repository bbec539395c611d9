"""What the client answers with, where an array is not enough."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc

from ..wire.codec import Array


@dataclass(frozen=True)
class CallRecord:
    """One call to a server, as the ``on_call`` hook gets it.

    Attributes:
        method: Predict, GetModelMetadata, GetModelStatus or HandleReloadConfigRequest.
        address: the server.
        model: the model.
        code: how it ended.
        seconds: how long it took.
        rows: texts in it; 0 where it carries none.
        attempt: 1, or more where it was sent again.
        request_bytes: size of the request.
        answer_bytes: size of the answer; 0 where there was none.
    """

    method: str
    address: str
    model: str
    code: grpc.StatusCode
    seconds: float
    rows: int
    attempt: int
    request_bytes: int
    answer_bytes: int


class Prediction(dict[str, Array]):
    """Outputs by name.

    Attributes:
        model_version: the version of the model that answered; ``None`` where the server does not say.
    """

    def __init__(self, outputs: Mapping[str, Array], model_version: int | None = None) -> None:
        super().__init__(outputs)
        self.model_version = model_version


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one text, without padding.

    Attributes:
        ids: vocabulary ids, int32 ``[tokens]``, with ``[CLS]`` and ``[SEP]``.
        start_offsets: first byte of each token in the UTF-8 text, int32 ``[tokens]``; -1 at ``[CLS]``, ``[SEP]``.
        limit_offsets: byte after its last, likewise.
        token_count: tokens that the whole text has; more than ``len(ids)`` where it was cut.
        type_ids: int32 ``[tokens]``, 0 for the text and 1 for its pair; ``None`` where the model takes no pairs.
        model_version: the version of the model that answered; ``None`` where the server does not say.
    """

    ids: Array
    start_offsets: Array
    limit_offsets: Array
    token_count: int
    type_ids: Array | None = None
    model_version: int | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def truncated(self) -> bool:
        """Whether the text was cut to the model's maximum length."""
        return self.token_count > len(self.ids)


@dataclass(frozen=True, eq=False)
class TokenSequence(Tokens):
    """The tokens of one text with their vectors.

    Attributes:
        vectors: float32 ``[tokens, hidden]``.
    """

    vectors: Array = field(kw_only=True)
