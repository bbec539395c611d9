"""Memory for reading and exporting a checkpoint of BERT-base's size, compared with the size of its weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from folders import DATA, edit, shard
from formats import write_bin

from benchmarks import growth

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

# Baseline: all imports are done, and a checkpoint was read. VmHWM includes mapped pages of files. ru_maxrss is not
# used, because it starts with the parent process' value.
MEASURE = """
import re, sys
import numpy as np
from pathlib import Path
from rawbert.exporter import sources
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
def all_of(folder):
    loaded = sources.load(folder)
    # Each weight once, as building the graph takes them.
    return sum(float(np.sum(loaded.weights[name][:1])) for name in loaded.weights)
all_of(sys.argv[1])
before = peak()
all_of(sys.argv[2])
print(peak() - before)
"""


def base(folder: Path) -> Path:
    """A random BERT-base: 12 layers, hidden size 768, 30522 words; 438 MB."""
    from rawbert.exporter.families import bert
    from rawbert.exporter.families.config import canonical_shapes
    from rawbert.exporter.families.names import TORCH, Naming
    from safetensors.numpy import save_file

    shutil.copytree(DATA / "tiny_bert", folder)
    (folder / "tokenizer.json").unlink()
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words += [f"word{number}" for number in range(30522 - len(words))]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    edit(folder / "config.json", vocab_size=30522, hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
         intermediate_size=3072, max_position_embeddings=512)  # fmt: skip
    rng = np.random.default_rng(0)
    naming = Naming(bert.NAMES, TORCH)
    shapes = canonical_shapes(bert.read_config(json.loads((folder / "config.json").read_text()), folder))
    save_file(
        {
            naming.spellings(name)[0]: (0.02 * rng.standard_normal(shape[::-1], np.float32)).reshape(
                shape[::-1] if name.endswith("/kernel") else shape
            )
            for name, shape in shapes.items()
        },
        folder / "model.safetensors",
    )
    return folder


def to_bin(folder: Path) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    write_bin(folder / "pytorch_model.bin", tensors)


def to_bin_shards(folder: Path) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"pytorch_model-00001-of-00002.bin": names[:90], "pytorch_model-00002-of-00002.bin": names[90:]}
    for file, chosen in parts.items():
        write_bin(folder / file, {name: tensors[name] for name in chosen})
    weight_map = {name: file for file, chosen in parts.items() for name in chosen}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))


def to_h5(folder: Path) -> None:
    import h5py
    from rawbert.exporter.families import bert
    from rawbert.exporter.families.config import canonical_shapes
    from rawbert.exporter.families.names import KERAS, TORCH, Naming
    from safetensors.numpy import load_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    with h5py.File(folder / "tf_model.h5", "w") as stream:
        for name in canonical_shapes(bert.read_config(json.loads((folder / "config.json").read_text()), folder)):
            value = tensors[Naming(bert.NAMES, TORCH).spellings(name)[0]]
            key = "bert/" + Naming(bert.NAMES, KERAS).spellings(name)[0]
            stream[key] = value.T if name.endswith("/kernel") else value


FORMS = {"safetensors": lambda folder: None, "safetensors shards": shard, "bin": to_bin, "bin shards": to_bin_shards,
         "h5": to_h5}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_reading_needs_at_most_a_fifth_more_than_the_weights(tmp_path: Path, form: str):
    folder = base(tmp_path / "base")
    FORMS[form](folder)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".h5"))
    assert size > 430e6
    command = [sys.executable, "-c", MEASURE, str(DATA / "tiny_bert"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = int(done.stdout.split()[-1])
    print(f"{form}: {peak / 1e6:.0f} MB for {size / 1e6:.0f} MB, {peak / size:.2f}x")
    assert peak <= 1.2 * size
    shutil.rmtree(folder)


def test_exporting_needs_at_most_four_and_a_half_times_the_weights(tmp_path: Path):
    source = base(tmp_path / "base")
    weights = (source / "model.safetensors").stat().st_size
    command = [Path(sys.executable).with_name("rawbert"), "export", source, f"--output={tmp_path / 'out'}"]
    used, bare = growth.run_watched(command, tmp_path / "export.log"), growth.tensorflow_rss()
    one, both = used["peak_rss_of_one"] - bare, used["peak_rss_of_all"] - 2 * bare
    print(f"{one / weights:.2f}x in one process, {both / weights:.2f}x in exporter and verifier together")
    assert one <= 4 * weights
    assert both <= 4.5 * weights
