"""Build descriptors.pb and the type stubs from the .proto files: ``python scripts/build_protos.py [FOLDER]``.

A tool for maintainers. Only this script needs grpcio-tools.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_PROTOS = Path(__file__).parents[1] / "serving" / "wire" / "protos"
FILES = ("error_codes.proto", "tensorflow.proto", "model_server_config.proto", "serving.proto")


def build(folder: Path = _PROTOS) -> None:
    """Write descriptors.pb and ``*_pb2.pyi`` into ``folder``."""
    import grpc_tools
    from grpc_tools import protoc

    status = protoc.main(
        [
            "protoc",
            f"-I{_PROTOS}",
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            "--include_imports",
            f"--descriptor_set_out={folder / 'descriptors.pb'}",
            f"--pyi_out={folder}",
            *FILES,
        ]
    )
    if status:
        raise SystemExit(status)
    for stub in folder.glob("*_pb2.pyi"):
        # protoc writes imports for a flat layout, but this is a package.
        stub.write_text(re.sub(r"^import (\w+_pb2)", r"from . import \1", stub.read_text(), flags=re.MULTILINE))


if __name__ == "__main__":
    build(*map(Path, sys.argv[1:]))
