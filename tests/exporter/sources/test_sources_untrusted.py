"""Files with false sizes and names: the readers of exporter and reference refuse them, in little memory."""

from __future__ import annotations

import pickle
import shutil
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from folders import tensors_of, tiny
from formats import unpack, write_bin
from rawbert.exporter import SourceError, sources
from rawbert.exporter.proof import weights

NAME = "pooler.dense.bias"
MEMORY = 64 << 20


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("formats"))


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """tiny_bert with its weights as pytorch_model.bin."""
    folder = tiny(tmp_path / "model")
    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    write_bin(folder / "pytorch_model.bin", tensors)
    return folder


@pytest.fixture
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY


def both_refuse(folder: Path, exporter: str, reference: str) -> None:
    with pytest.raises(SourceError, match=exporter):
        sources.load(folder)
    with pytest.raises(ValueError, match=reference):
        weights.load(folder)


def rewrite(path: Path, member: str, content: bytes, kind: int = zipfile.ZIP_DEFLATED) -> None:
    """Replace a member of a zip file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[f"archive/{member}"] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data, kind if name.endswith(member) else zipfile.ZIP_STORED)


def test_a_byteorder_that_is_a_bomb(bin_folder: Path):
    path = bin_folder / "pytorch_model.bin"
    rewrite(path, "byteorder", bytes(512 << 20))
    assert path.stat().st_size < 2 << 20
    tracemalloc.start()
    both_refuse(bin_folder, "not little-endian", "unpacks to more than the size of the file")
    assert tracemalloc.get_traced_memory()[1] < MEMORY
    tracemalloc.stop()


def test_big_endian_numbers(bin_folder: Path):
    rewrite(bin_folder / "pytorch_model.bin", "byteorder", b"big", zipfile.ZIP_STORED)
    both_refuse(bin_folder, "not little-endian", "not little-endian")


def test_numbers_that_are_compressed(bin_folder: Path):
    rewrite(bin_folder / "pytorch_model.bin", "data/0", bytes(300 << 20))
    both_refuse(bin_folder, "data/0 is compressed", "unpacks to more than the size of the file")


#: (storage offset, shape, strides) of a tensor over a storage of 32 numbers.
LAYOUTS = {
    "an offset": ((1, (32,), (1,)), "reaches to element 32"),
    "strides": ((0, (32,), (2,)), "reaches to element 62"),
    "strides beyond all memory": ((0, (32,), (1 << 50,)), "reaches to element"),
    "a stride of 0": ((0, (1 << 45,), (0,)), "its storage has 32 elements"),
    "one more stride than sizes": ((0, (32,), (1, 1)), "invalid description"),
    "a negative stride": ((31, (32,), (-1,)), "invalid shape"),
    "a negative offset": ((-1, (32,), (1,)), "invalid shape"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tensor_that_reaches_beyond_its_storage(tmp_path: Path, layout: str):
    parts, exporter = LAYOUTS[layout]
    folder = tiny(tmp_path / "model")
    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    write_bin(folder / "pytorch_model.bin", tensors, layout={NAME: parts})
    both_refuse(folder, exporter, f"{NAME} (reaches beyond its storage|is not a description)")


def test_a_pickle_that_asks_for_a_large_table(bin_folder: Path, little_memory: None):
    # LONG_BINPUT: remember the empty dict as number 400,000,000.
    rewrite(bin_folder / "pytorch_model.bin", "data.pkl", b"\x80\x02}r" + struct.pack("<I", 400_000_000) + b".")
    with pytest.raises(SourceError, match="no tensor is named"):
        sources.load(bin_folder)
    assert weights.load(bin_folder)[1] == {}


def legacy(path: Path, *pickles: bytes) -> None:
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join([*head, *pickles]))


def test_an_old_pickle_that_asks_for_a_large_string(bin_folder: Path, little_memory: None):
    legacy(bin_folder / "pytorch_model.bin", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"abc.")
    both_refuse(bin_folder, "pytorch_model.bin: not a readable file", "not a readable pickle")


def test_an_old_storage_longer_than_its_file(formats: Path, tmp_path: Path):
    folder = shutil.copytree(formats / "bin-legacy", tmp_path / "model")
    raw = (folder / "pytorch_model.bin").read_bytes()
    with (folder / "pytorch_model.bin").open("rb") as stream:
        for _ in range(5):
            weights._Pickle(stream).load()
        at = stream.tell()
    (folder / "pytorch_model.bin").write_bytes(raw[:at] + struct.pack("<q", 1 << 40) + raw[at + 8 :])
    both_refuse(folder, "is incomplete", "longer than the file")


def test_hdf5_of_few_bytes_that_is_large(formats: Path, tmp_path: Path, little_memory: None):
    import h5py

    folder = shutil.copytree(formats / "h5", tmp_path / "model")
    with h5py.File(folder / "tf_model.h5", "a") as stream:
        stream.create_dataset("more", (1 << 30,), "f4", chunks=(1 << 20,), compression="gzip")
    assert (folder / "tf_model.h5").stat().st_size < 1 << 20
    both_refuse(folder, "the tensor more has 4294967296 bytes", "the values of more are missing")


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def index(*entries: tuple[bytes, bytes]) -> bytes:
    """A variables.index of these entries: LevelDB's table format."""

    def varint(number: int) -> bytes:
        return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)

    def block(pairs: tuple[tuple[bytes, bytes], ...]) -> bytes:
        body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs)
        return body + struct.pack("<II", 0, 1) + b"\0"

    made, handles = b"", []
    for part in (block(entries), block(())):
        handles.append(varint(len(made)) + varint(len(part) - 1))
        made += part + struct.pack("<I", crc32c(part))
    part = block(((b"\xff", handles[0]),))
    footer = handles[1] + varint(len(made)) + varint(len(part) - 1)
    return made + part + struct.pack("<I", crc32c(part)) + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def test_an_index_that_claims_much(formats: Path, tmp_path: Path):
    from tensorflow.core.protobuf import tensor_bundle_pb2

    folder = shutil.copytree(formats / "google", tmp_path / "model")
    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=300_000)
    header.version.producer = 1
    (folder / "bert_model.ckpt.index").write_bytes(index((b"", header.SerializeToString())))
    with pytest.raises(SourceError, match="no tensor is named"):
        sources.load(folder)
    name = folder / "bert_model.ckpt.data-00000-of-00001"
    name.rename(folder / "bert_model.ckpt.data-00000-of-99999")
    with pytest.raises(SourceError, match="data-00001-of-99999: missing"):
        sources.load(folder)
    (folder / "bert_model.ckpt.data-00000-of-99999").rename(name)

    header.num_shards = 1
    entry = tensor_bundle_pb2.BundleEntryProto(dtype=1, size=4 << 40)
    entry.shape.dim.add().size = 1 << 40
    (folder / "bert_model.ckpt.index").write_bytes(
        index((b"", header.SerializeToString()), (b"bert/large", entry.SerializeToString()))
    )
    with pytest.raises(
        SourceError, match=r"bert/large cannot be read .* it has shape \[1099511627776\], but they have"
    ):
        sources.load(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_json_that_is_deep_or_large(tmp_path: Path, name: str):
    folder = tiny(tmp_path / "model")
    (folder / name).write_text("[" * 200_000)
    with pytest.raises(SourceError, match=f"{name}: not readable as JSON"):
        sources.load(folder)
    with (folder / name).open("wb") as stream:
        stream.truncate(129 << 20)
    with pytest.raises(SourceError, match=f"{name}: not readable as JSON: it has 135266304 bytes"):
        sources.load(folder)


def test_safetensors_that_overlap_or_lie_outside(tmp_path: Path):
    import json

    folder = tiny(tmp_path / "model")
    for offsets in ([0, 4], [4, 8], [0, 1 << 60]):
        header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        header["b"] = {"dtype": "F32", "shape": [1], "data_offsets": offsets}
        raw = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(4 if offsets[0] else 8))
        with pytest.raises(SourceError, match=r"model\.safetensors: not a readable safetensors file"):
            sources.load(folder)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(SourceError, match=r"model\.safetensors: not a readable safetensors file"):
        sources.load(folder)


STATE = {"state_dict": "state_dict", "model": "model", "model_state_dict": "model_state_dict"}


@pytest.mark.parametrize("key", STATE)
def test_weights_one_level_down_among_what_training_saved(bin_folder: Path, checkpoint, key: str):
    path = bin_folder / "pytorch_model.bin"
    with zipfile.ZipFile(path) as archive:
        state = archive.read("archive/data.pkl")
    # {key: <the pickled dict>, "epoch": 3}
    name = key.encode()
    inner = state[2:-1]
    outer = b"\x80\x02}(X" + struct.pack("<I", len(name)) + name + inner + b"X\x05\x00\x00\x00epochK\x03u."
    rewrite(path, "data.pkl", outer, zipfile.ZIP_STORED)
    loaded = sources.load(bin_folder)
    for weight, value in checkpoint.weights.items():
        np.testing.assert_array_equal(loaded.weights[weight], value)
    reference = weights.load(bin_folder)[1]
    np.testing.assert_array_equal(reference[NAME], checkpoint.weights["pooler/bias"])


def test_two_models_in_what_training_saved_are_refused(bin_folder: Path):
    rewrite(bin_folder / "pytorch_model.bin", "data.pkl", pickle.dumps({"model": {}, "state_dict": {}}, 2))
    with pytest.raises(SourceError, match="found state_dict and model"):
        sources.load(bin_folder)
