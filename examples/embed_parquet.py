"""Embed a column of a Parquet file of any size: rows are read, embedded and written in batches.

    python examples/embed_parquet.py pages.parquet vectors.parquet --column body

It needs a served model with the signature ``embed``, and pyarrow. ``rawbert embed`` does the same at the terminal, and
continues after an interruption; this is the code to start from if your job is a Python program.
"""

import argparse
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rawbert.serving import Client


def embed_file(client: Client, source: Path, target: Path, column: str, rows: int = 4096) -> int:
    """Write all columns of ``source`` and the column ``embedding`` (fixed-size list of float32); the number of rows.

    ``target`` appears when it is complete. Rows without a text get no vector.
    """
    partial = target.with_name(f"{target.name}.partial")
    done, writer = 0, None
    with pq.ParquetFile(source) as file:
        if column not in file.schema_arrow.names:
            raise SystemExit(f"error: {source} has no column {column!r}, but {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(rows):
            texts = batch.column(column).to_pylist()
            present = [at for at, text in enumerate(texts) if text]
            vectors = client.embed([texts[at] for at in present], sort_by_length=True, timeout=None)  # [present, dim]
            places: list[int | None] = [None] * len(texts)
            for place, at in enumerate(present):
                places[at] = place
            flat = pa.array(vectors.reshape(-1), pa.float32())
            lists = pa.FixedSizeListArray.from_arrays(flat, max(vectors.shape[1], 1))
            table = pa.table(
                [*batch.columns, lists.take(pa.array(places, pa.int64()))], [*batch.schema.names, "embedding"]
            )
            writer = writer or pq.ParquetWriter(partial, table.schema)
            writer.write_table(table)
            done += len(texts)
            print(f"\r{done} of {file.metadata.num_rows} rows", end="", flush=True)
    if writer is None:
        raise SystemExit(f"error: {source} has no rows")
    writer.close()
    partial.replace(target)
    print()
    return done


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--column", default="text")
    parser.add_argument("--address", default=os.environ.get("RAWBERT_ADDRESS", "localhost:8500"))
    parser.add_argument("--model", default="minilm")
    given = parser.parse_args()
    with Client(given.address, model=given.model) as client:
        client.wait_until_ready(timeout=30)
        embed_file(client, given.source, given.target, given.column)


if __name__ == "__main__":
    main()
