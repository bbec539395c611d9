"""The dtype of the matrix products in training, as the hardware has it."""

import contextlib
from pathlib import Path

from ...serving.interrupts import held

#: Instructions for products of bfloat16 matrices, by Linux's names: with avx512_bf16 a step of MiniLM takes 0.55 of the
#: time. Without them TensorFlow converts every operand.
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
#: NVIDIA's compute capability from which on GPUs have bfloat16.
_CAPABILITY = (8, 0)


def resolved(precision: str) -> str:
    """``bfloat16`` or ``float32`` of ``auto``, by the first GPU, or else the CPU; any other as it is."""
    if precision != "auto":
        return precision
    with held():
        import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        has_it = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0)) >= _CAPABILITY
    else:
        has_it = bool(_instructions() & _INSTRUCTIONS)
    return "bfloat16" if has_it else "float32"


def _instructions() -> set[str]:
    """What this CPU knows; nothing where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("flags"):
                return set(line.split())
    return set()
