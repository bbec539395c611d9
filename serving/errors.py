"""What the client raises. Every message says what happened, where, and what can be done.

::

    ServingError                  base; .code and .details are gRPC's, .address the server's
    ├── InvalidRequest            the call is wrong as it is: sending it again will not help
    │   ├── ModelNotFound         no such model, version or method on that server
    │   └── SignatureNotFound     the model has no such signature
    ├── Unauthenticated           credentials are missing or refused
    ├── DeadlineExceeded          no answer within the timeout
    ├── ServerUnavailable         nobody answers at that address, or the server is shutting down
    ├── ServerOverloaded          a queue or a thread pool is exhausted
    ├── MessageTooLarge           a message is larger than one side takes
    ├── ModelVersionChanged       the version that answered the first texts of a call was unloaded meanwhile
    ├── CallCancelled             the call was cancelled
    ├── ServerFault               the server failed at a call that may well be right
    └── DecodeError               the answer is not what the protocol, or the model's signature, says

Arguments of a wrong type or value raise ``TypeError`` and ``ValueError`` before anything is sent.
"""

import json
import re
from collections.abc import Collection
from typing import Any

import grpc


class ServingError(Exception):
    """Base of everything that the client raises for a call.

    Attributes:
        code: gRPC status code, ``None`` where no call failed.
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
    """The call is wrong as it is: sending it again will not help."""


class ModelNotFound(InvalidRequest):
    """The server has no such model, version or method."""


class SignatureNotFound(InvalidRequest):
    """The model has no such signature."""


class Unauthenticated(ServingError):
    """Credentials are missing or refused."""


class DeadlineExceeded(ServingError):
    """No answer came within the timeout."""


class ServerUnavailable(ServingError):
    """Nobody answers at that address, or the server is shutting down."""


class ServerOverloaded(ServingError):
    """A queue or a thread pool is exhausted."""


class MessageTooLarge(ServingError):
    """A message is larger than the server or the client takes."""


class ModelVersionChanged(ServingError):
    """The version that answered the first texts of a call was unloaded meanwhile."""


class CallCancelled(ServingError):
    """The call was cancelled."""


class ServerFault(ServingError):
    """The server failed at a call that may well be right."""


class DecodeError(ServingError):
    """The answer is not what the protocol, or the model's signature, says."""


#: Every status code, the class that it raises, and what a caller can do about it.
STATUS: dict[grpc.StatusCode, tuple[type[ServingError], str]] = {
    grpc.StatusCode.OK: (ServerFault, "the call failed with status OK, which cannot be"),
    grpc.StatusCode.CANCELLED: (CallCancelled, "the call was cancelled"),
    grpc.StatusCode.UNKNOWN: (ServerFault, "the server failed in a way that it does not name; see its log"),
    grpc.StatusCode.INVALID_ARGUMENT: (InvalidRequest, "the server refused the request"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, "no answer came in time; give a longer timeout"),
    grpc.StatusCode.NOT_FOUND: (ModelNotFound, "check the model's name and version with status()"),
    grpc.StatusCode.ALREADY_EXISTS: (InvalidRequest, "the server refused the request"),
    grpc.StatusCode.PERMISSION_DENIED: (Unauthenticated, "the credentials do not allow this call"),
    grpc.StatusCode.UNAUTHENTICATED: (Unauthenticated, "the server asks for credentials"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (ServerOverloaded, "send less at a time, or later again"),
    grpc.StatusCode.FAILED_PRECONDITION: (ServerFault, "the model cannot answer as it is; see the server's log"),
    grpc.StatusCode.ABORTED: (ServerFault, "the server gave the call up"),
    grpc.StatusCode.OUT_OF_RANGE: (InvalidRequest, "the server refused the request"),
    grpc.StatusCode.UNIMPLEMENTED: (ModelNotFound, "the server does not have this method; is it TensorFlow Serving?"),
    grpc.StatusCode.INTERNAL: (ServerFault, "the server failed; see its log"),
    grpc.StatusCode.UNAVAILABLE: (ServerUnavailable, "is the server running, and is the address right?"),
    grpc.StatusCode.DATA_LOSS: (ServerFault, "the server lost data; see its log"),
}


#: What the gRPC library says, as patterns, and what a caller can do about it.
_HINTS = {
    "Too many pings": "the server allows fewer pings; give a longer ChannelConfig(keepalive_time=...)",
    "Failed parsing HTTP/2": "that port speaks no gRPC; TensorFlow Serving's gRPC port is usually 8500, 8501 is REST",
    "WRONG_VERSION_NUMBER": "the server speaks no TLS there; connect without tls, or to its TLS port",
    "unable to get local issuer": "the certificate of the server is signed by another CA; give TLS(ca=...)",
    "self.signed": "the certificate of the server signs itself; give TLS(ca=...)",
    "certificate has expired": "the certificate of the server has expired",
    "not in peer cert|Hostname Veri": "the certificate is for another name; give TLS(server_name=...) if that is right",
    "CERTIFICATE_REQUIRED": "the server asks for a client certificate; give TLS(certificate=..., key=...)",
    "CERTIFICATE_VERIFY_FAILED": "the certificate of the server is not trusted; see TLS(ca=...)",
    "resolv|Domain name not found": "the name of the server cannot be looked up; is it right?",
    "security handshaker": "TLS cannot start; is it the key of that certificate? TLS(certificate=..., key=...)",
    "handshake failed": "TLS could not be agreed on; check TLS(ca=..., certificate=..., key=...)",
}
#: What to do about a label that a server refuses.
LABEL_HINT = (
    "a label of a version that is still to be loaded needs --allow_version_labels_for_unavailable_models at the start "
    "of the server; else wait until the version is AVAILABLE"
)
#: What a connection ends with that the server, or what is before it, did not like from its first bytes on.
_CLOSED = ("Socket closed", "Connection reset", "Broken pipe", "Endpoint closing")
_ASKS = "the server closed the connection: does it ask for a client certificate? TLS(certificate=..., key=...)"
_REFUSED = (
    "the server closed the connection: does it trust the certificate of this client? It refuses one that has expired, "
    "that another CA has signed, or that is not for clients: TLS(certificate=..., key=...)"
)
_PLAIN = "the connection was closed before a word: is it a TLS port? then give tls=TLS(...); is the server running?"
_PROXY = "gRPC uses the http_proxy of the environment; ChannelConfig(http_proxy=False) or no_proxy switch it off"
_TOO_LARGE = (
    "the message is over a limit: in this client that is ChannelConfig(max_message_bytes=...), in the server its own "
    "receive limit, in nginx client_max_body_size; send fewer or shorter texts at a time (max_batch_size)"
)
_TIMED_OUT = "a proxy ended the call at its own time-out (nginx: grpc_read_timeout); raise it, or send less at a time"
#: How gRPC reports a status of HTTP, which only a proxy answers.
_HTTP = r"(?i)http2? (?:header with )?status(?: code)?:? (\d{3})"


def http_status(details: str) -> int | None:
    """The HTTP status that a proxy answered in place of gRPC's, from the details of a failure."""
    found = re.search(_HTTP, details)
    return int(found[1]) if found else None


def too_large(details: str) -> bool:
    """Whether a call failed for the size of its request or answer."""
    return "larger than max" in details or http_status(details) == 413


def timed_out_at_proxy(details: str) -> bool:
    """Whether a proxy gave up waiting for the server, which may still be at it."""
    return http_status(details) in (408, 504, 524) or "upstream request timeout" in details


#: Trailing metadata in which `rawbert serve` says which models it has, where it lacks the one that was asked for: a
#: JSON list. TensorFlow Serving has no call that lists its models.
MODELS_KEY = "rawbert-models-bin"


def served_models(error: ServingError) -> list[str]:
    """The models that the server has, where it says so with a failure."""
    trailing: Any = getattr(error.__cause__, "trailing_metadata", tuple)() or ()
    try:
        return [str(name) for key, value in trailing if key == MODELS_KEY for name in json.loads(value)]
    except (ValueError, TypeError):
        return []


def from_status(
    code: grpc.StatusCode, details: str, what: str, address: str, *, attempts: int = 1, connection: Collection[str] = ()
) -> ServingError:
    """The exception for a failed call, and what can be done about it.

    Args:
        code, details: what the server, or the gRPC library, said.
        what: the call, for the message: method, model, version, signature.
        address: the server.
        attempts: calls that were made.
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
        advice = f"nothing listens at {address}: is the server running? rawbert serve starts one; or give its address"
    else:
        advice = next((hint for words, hint in _HINTS.items() if re.search(words, details)), advice)
    said = f": {details.strip()}" if details.strip() else ""
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    message = f"{what} at {address} failed{tries} with {code.name}{said} ({advice})"
    return kind(message, code=code, details=details, address=address)
