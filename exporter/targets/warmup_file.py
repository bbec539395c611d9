"""The records of ``tf_serving_warmup_requests`` without TensorFlow: the signatures that they call.

A TFRecord (tensorflow/core/lib/io/record_writer.h) has four parts: the length of the data (8 bytes, little-endian), a
checksum of the length (4), the data, and a checksum of the data (4). The checksums are masked CRC-32C. The checksum of
the data is left to the server, because in Python it would take longer than all other checks.
"""

from collections import Counter
from pathlib import Path

from google.protobuf.message import DecodeError

from ...serving.contract import DEFAULT_SIGNATURE
from ...serving.wire.protos import PredictRequest
from ..protos import PredictionLog


def signatures_of(path: Path) -> Counter[str]:
    """The number of records that call each signature.

    Raises:
        ValueError: the file has no warmup records, or is cut short; the message contains the place.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    counts: Counter[str] = Counter()
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        begin, end = at + 12, at + 12 + length
        if end + 4 > len(data):
            raise ValueError(f"there is no complete record at byte {at}")
        if _masked_crc(data[at : at + 8]) != int.from_bytes(data[at + 8 : begin], "little"):
            raise ValueError(f"the record at byte {at} is damaged")
        try:
            log = PredictionLog.FromString(data[begin:end])
            request = PredictRequest.FromString(log.predict_log.request)
        except DecodeError as error:
            raise ValueError(f"the record at byte {at} is not a PredictionLog") from error
        if log.HasField("predict_log"):
            counts[request.model_spec.signature_name or DEFAULT_SIGNATURE] += 1
        at = end + 4
    return counts


def _masked_crc(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
