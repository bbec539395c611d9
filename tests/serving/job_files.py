"""Inputs and outputs of the commands that answer files of texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def write_input(path: Path, texts: list[str]) -> None:
    """Write texts with their indices as ``id``, in the format of the file name."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"id": list(range(len(texts))), "text": texts}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"id": at, "text": text}) + "\n" for at, text in enumerate(texts)))
    elif path.suffix == ".csv":
        path.write_text("id,text\n" + "".join(f'{at},"{text}"\n' for at, text in enumerate(texts)))
    else:
        path.write_text("".join(f"{text}\n" for text in texts))


def read_output(path: Path) -> tuple[list[str] | None, np.ndarray]:
    """Texts, if the output contains them, and vectors."""
    if path.suffix == ".npy":
        return None, np.load(path)
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        return table["text"].to_pylist(), np.array(table["embedding"].to_pylist(), np.float32)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row["text"] for row in rows], np.array([row["embedding"] for row in rows], np.float32)
