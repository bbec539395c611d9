"""The failure of a call, a load or a reload: a status other than OK."""

import grpc


class Failure(Exception):
    """A gRPC status and its message. They are TensorFlow Serving's, if it has a message for the case.

    Code that reads files, finds versions or runs models raises it.

    Args:
        code: the status.
        message: message for the caller.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def invalid(message: str) -> Failure:
    """INVALID_ARGUMENT: the request, or the file, is wrong."""
    return Failure(grpc.StatusCode.INVALID_ARGUMENT, message)


def unfit(message: str) -> Failure:
    """FAILED_PRECONDITION: the request is not possible in the current state."""
    return Failure(grpc.StatusCode.FAILED_PRECONDITION, message)
