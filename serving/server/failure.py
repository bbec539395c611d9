"""What ends a call, a load or a reload with a status other than OK."""

from __future__ import annotations

import grpc

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class Failure(Exception):
    """A gRPC status and its message, which are those of TensorFlow Serving wherever it has one for the case.

    Args:
        code: number of a gRPC status, which are TensorFlow's own too; an unknown one reads as UNKNOWN.
        message: for the caller.
    """

    def __init__(self, code: int | grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code: grpc.StatusCode = (
            code if isinstance(code, grpc.StatusCode) else _CODES.get(code, grpc.StatusCode.UNKNOWN)
        )

    @property
    def number(self) -> int:
        """The status as a number, as GetModelStatus shows it."""
        number: int = self.code.value[0]
        return number


def invalid(message: str) -> Failure:
    """INVALID_ARGUMENT: the request, or the file, is wrong."""
    return Failure(grpc.StatusCode.INVALID_ARGUMENT, message)
