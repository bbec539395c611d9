"""The exceptions of the client. Every message contains the fault, its place, and a remedy.

::

    ServingError                  base; .code and .details are gRPC's, .address the server's
    ├── InvalidRequest            the call itself is wrong: a retry will not help
    │   ├── ModelNotFound         no such model, version or method on that server
    │   └── SignatureNotFound     the model has no such signature
    ├── Unauthenticated           credentials are missing or refused
    ├── DeadlineExceeded          no answer within the timeout
    ├── ServerUnavailable         no server answers at that address, or it is shutting down
    ├── ServerOverloaded          a queue or a thread pool is full
    ├── MessageTooLarge           a message is larger than one side accepts
    ├── ModelVersionChanged       the version that answered the first texts of a call was unloaded meanwhile
    ├── CallCancelled             the call was cancelled
    ├── ServerFault               the server failed, although the call may be right
    └── DecodeError               the answer contradicts the protocol or the model's signature

Arguments of a wrong type or value raise ``TypeError`` and ``ValueError`` before anything is sent.
"""

import json
import re
from collections.abc import Collection
from typing import Any

import grpc


class ServingError(Exception):
    """Base class of all exceptions of a call.

    Attributes:
        code: gRPC status code, ``None`` if no call failed.
        details: the server's own message.
        address: the server that was called.
    """

    def __init__(
        self, message: str, *, code: grpc.StatusCode | None = None, details: str = "", address: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.address = address


class InvalidRequest(ServingError):
    """The call itself is wrong: a retry will not help."""


class ModelNotFound(InvalidRequest):
    """The server has no such model, version or method."""


class SignatureNotFound(InvalidRequest):
    """The model has no such signature."""


class Unauthenticated(ServingError):
    """Credentials are missing or refused."""


class DeadlineExceeded(ServingError):
    """No answer came within the timeout."""


class ServerUnavailable(ServingError):
    """No server answers at that address, or the server is shutting down."""


class ServerOverloaded(ServingError):
    """A queue or a thread pool of the server is full."""


class MessageTooLarge(ServingError):
    """A message is larger than the server or the client accepts."""


class ModelVersionChanged(ServingError):
    """The version that answered the first texts of a call was unloaded meanwhile."""


class CallCancelled(ServingError):
    """The call was cancelled."""


class ServerFault(ServingError):
    """The server failed, although the call may be right."""


class DecodeError(ServingError):
    """The answer contradicts the protocol or the model's signature."""


#: Status code -> exception class, and a remedy for the caller.
STATUS: dict[grpc.StatusCode, tuple[type[ServingError], str]] = {
    grpc.StatusCode.OK: (ServerFault, "the call failed with status OK, which is a fault of the server; see its log"),
    grpc.StatusCode.CANCELLED: (CallCancelled, "the call was cancelled; send it again if that was not intended"),
    grpc.StatusCode.UNKNOWN: (ServerFault, "the server failed without a reason; see its log"),
    grpc.StatusCode.INVALID_ARGUMENT: (InvalidRequest, "the server refused the request; check it with metadata()"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, "no answer came in time; give a longer timeout"),
    grpc.StatusCode.NOT_FOUND: (ModelNotFound, "check the model's name and version with status()"),
    grpc.StatusCode.ALREADY_EXISTS: (InvalidRequest, "the server refused the request; check it with metadata()"),
    grpc.StatusCode.PERMISSION_DENIED: (Unauthenticated, "the credentials do not allow this call; give others"),
    grpc.StatusCode.UNAUTHENTICATED: (
        Unauthenticated,
        "the server requires credentials; give metadata, for example",
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (ServerOverloaded, "send fewer texts at a time, or try again later"),
    grpc.StatusCode.FAILED_PRECONDITION: (
        ServerFault,
        "the model cannot answer in its current state; see the server's log",
    ),
    grpc.StatusCode.ABORTED: (ServerFault, "the server aborted the call; try again"),
    grpc.StatusCode.OUT_OF_RANGE: (InvalidRequest, "the server refused the request; check it with metadata()"),
    grpc.StatusCode.UNIMPLEMENTED: (
        ModelNotFound,
        "the server does not have this method; check that it is TensorFlow Serving",
    ),
    grpc.StatusCode.INTERNAL: (ServerFault, "the server failed; see its log"),
    grpc.StatusCode.UNAVAILABLE: (ServerUnavailable, "check that the server runs, and its address"),
    grpc.StatusCode.DATA_LOSS: (ServerFault, "the server lost data; see its log"),
}


#: Pattern of a message of the gRPC library -> remedy.
_HINTS = {
    "Too many pings": "the server allows fewer pings; give a longer ChannelConfig(keepalive_time=...)",
    "Failed parsing HTTP/2": "that port does not speak gRPC; use the server's gRPC port, usually 8500 (8501 is REST)",
    "WRONG_VERSION_NUMBER": "that port does not speak TLS; connect without tls, or to the TLS port",
    "unable to get local issuer": "another CA signed the server's certificate; give TLS(ca=...)",
    "self.signed": "the server's certificate is self-signed; give TLS(ca=...)",
    "certificate has expired": "the server's certificate has expired; renew it",
    "not in peer cert|Hostname Veri": "the certificate is for another name; if it is right, give TLS(server_name=...)",
    "CERTIFICATE_REQUIRED": "the server requires a client certificate; give TLS(certificate=..., key=...)",
    "CERTIFICATE_VERIFY_FAILED": "the server's certificate is not trusted; give TLS(ca=...)",
    "resolv|Domain name not found": "the server's name cannot be looked up; check it",
    "security handshaker": "TLS cannot start; check that TLS(certificate=..., key=...) belong together",
    "handshake failed": "the TLS handshake failed; check TLS(ca=..., certificate=..., key=...)",
}
#: Remedy for a label that a server refuses.
LABEL_HINT = (
    "wait until the version is AVAILABLE, or start the server with --allow_version_labels_for_unavailable_models to "
    "allow labels of versions that are not loaded yet"
)
#: Messages for a connection that the server, or a proxy before it, closed after the first bytes.
_CLOSED = ("Socket closed", "Connection reset", "Broken pipe", "Endpoint closing")
_ASKS = "the server closed the connection: if it requires a client certificate, give TLS(certificate=..., key=...)"
_REFUSED = (
    "the server closed the connection: check the client certificate, TLS(certificate=..., key=...); servers refuse one "
    "that has expired, is signed by another CA, or is not for clients"
)
_PLAIN = "the connection was closed at once: check that the server runs; to a TLS port, connect with tls=TLS(...)"
_PROXY = "gRPC uses the http_proxy of the environment; set ChannelConfig(http_proxy=False) or no_proxy to avoid it"
_TOO_LARGE = (
    "the message is over a limit: ChannelConfig(max_message_bytes=...) in this client, the server's receive limit, "
    "or client_max_body_size in nginx; send fewer or shorter texts at a time (max_batch_size)"
)
_TIMED_OUT = "a proxy ended the call at its own timeout (nginx: grpc_read_timeout); raise it, or send fewer texts"
#: gRPC's report of an HTTP status, which only a proxy sends.
_HTTP = r"(?i)http2? (?:header with )?status(?: code)?:? (\d{3})"


def http_status(details: str) -> int | None:
    """The HTTP status that a proxy sent in place of gRPC's status, from the details of a failure."""
    found = re.search(_HTTP, details)
    return int(found[1]) if found else None


def too_large(details: str) -> bool:
    """Whether a call failed because of the size of its request or answer."""
    return "larger than max" in details or http_status(details) == 413


def timed_out_at_proxy(details: str) -> bool:
    """Whether a proxy stopped waiting for the server, which may still compute."""
    return http_status(details) in (408, 504, 524) or "upstream request timeout" in details


#: Trailing metadata of `rawbert serve` for a call to an unknown model: a JSON list of its models. TensorFlow Serving
#: has no call that lists its models.
MODELS_KEY = "rawbert-models-bin"


def served_models(error: ServingError) -> list[str]:
    """The server's models, if it sent them with a failure."""
    trailing: Any = getattr(error.__cause__, "trailing_metadata", tuple)() or ()
    try:
        return [str(name) for key, value in trailing if key == MODELS_KEY for name in json.loads(value)]
    except (ValueError, TypeError):
        return []


def from_status(
    code: grpc.StatusCode, details: str, what: str, address: str, *, attempts: int = 1, connection: Collection[str] = ()
) -> ServingError:
    """The exception for a failed call, with a remedy.

    Args:
        code, details: status and message of the server or of the gRPC library.
        what: description of the call: method, model, version, signature.
        address: address of the server.
        attempts: number of attempts.
        connection: ``plain``: without TLS; ``anonymous``: TLS without a client certificate; ``identified``: TLS with
            one; ``proxy``: the environment names a proxy.
    """
    kind, advice = STATUS[code]
    closed = code is grpc.StatusCode.UNAVAILABLE and any(words in details for words in _CLOSED)
    if too_large(details):
        kind, advice = MessageTooLarge, _TOO_LARGE
    elif timed_out_at_proxy(details):
        kind, advice = DeadlineExceeded, _TIMED_OUT
    elif code is grpc.StatusCode.FAILED_PRECONDITION and "signature" in details.lower():
        kind, advice = SignatureNotFound, "metadata() lists the model's signatures"
    elif "Request to assign label" in details:
        advice = LABEL_HINT
    elif code is grpc.StatusCode.UNAVAILABLE and "proxy" in connection:
        advice = _PROXY
    elif closed and "anonymous" in connection:
        advice = _ASKS
    elif closed and "identified" in connection:
        advice = _REFUSED
    elif closed and "plain" in connection and "failed to connect" in details:
        advice = _PLAIN
    elif "Connection refused" in details:
        advice = f"nothing listens at {address}: start a server with rawbert serve, or check the address"
    else:
        advice = next((hint for words, hint in _HINTS.items() if re.search(words, details)), advice)
    said = f": {details.strip()}" if details.strip() else ""
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    message = f"{what} at {address} failed{tries} with {code.name}{said} ({advice})"
    return kind(message, code=code, details=details, address=address)
