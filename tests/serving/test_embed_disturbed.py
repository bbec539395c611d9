"""Jobs of ``rawbert embed`` with one disturbance each: SIGKILL of the command or of the server, a replaced input, a
full disk, a server that moves. The output is the same as without it, or the command fails with a clear error and the
next run gives that output.

As a script: ``python tests/serving/test_embed_disturbed.py [SEED [JOBS]]``.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_models
from command import RAWBERT, limited

ROWS = 5000
INPUTS = ("txt", "jsonl", "csv", "tsv", "parquet", "txt.gz", "jsonl.gz", "csv.gz")
OUTPUTS = ("npy", "jsonl", "parquet")
DISTURBANCES = ("kill", "server", "replace", "overwrite", "cut", "disk", "move")


class Server:
    """A server in a process, always on the same port."""

    def __init__(self, command: list[str]) -> None:
        self._command, self.port = command, 0
        self.start()

    def start(self) -> None:
        command = [part.format(port=self.port) for part in self._command]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr
        for line in self._process.stderr:
            if ready := re.match(r"Running gRPC ModelServer at 127\.0\.0\.1:(\d+) \.\.\.$", line):
                self.port = int(ready[1])
                return
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class Job:
    """One job in a separate folder: texts and ids to a file."""

    def __init__(self, folder: Path, chance: random.Random, number: int) -> None:
        self.source = folder / f"in.{INPUTS[number % len(INPUTS)]}"
        self.output = folder / f"out.{OUTPUTS[number % len(OUTPUTS)]}"
        self.partial = folder / f"{self.output.name}.partial"
        words = ["naïve", "plain", "日本", "text", "𝄞", "a,b", 'say "x"', "tab"]
        self.texts = [" ".join(chance.choices(words, k=chance.randint(0, 5))) for _ in range(ROWS)]
        self.keeps = not self.source.name.startswith("in.txt")
        self.write(self.texts, self.source)

    def write(self, texts: list[str], path: Path) -> None:
        from test_embed_reading import write

        write(path, texts, delimiter="\t" if ".tsv" in path.name else ",")

    def run(self, server: Server, timeout: float, limit: int | None = None) -> subprocess.Popen[str]:
        command = [*RAWBERT, "embed", "-a", f"127.0.0.1:{server.port}", "-m", "text", "-i", str(self.source)]
        command += ["-o", str(self.output), "--timeout", str(timeout), "--batch-size", "16", "--concurrency", "2"]
        command += ["--on-truncation", "ignore", *(["--keep", "id"] if self.keeps else [])]
        return subprocess.Popen(limited(command, limit), stderr=subprocess.PIPE, text=True)

    def wait(self, process: subprocess.Popen[str], part: float) -> None:
        """Wait until a part of the vectors is written, or all of them, and for a random time."""
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() < begun + 60:
            size = self.partial.stat().st_size if self.partial.exists() else 0
            if size >= part * ROWS * (16 + 4 * toy_models.DIM):
                return
            time.sleep(0.002)

    def equals(self, texts: list[str]) -> bool:
        expected = np.array([toy_models.embedding(text.encode()) for text in texts], np.float32)
        ids: list[str] | None = [str(at) for at in range(len(texts))] if self.keeps else None
        rows: Any = None
        if self.output.suffix == ".parquet":
            import pyarrow.parquet as pq

            rows = pq.read_table(self.output).to_pylist()
        elif self.output.suffix == ".jsonl":
            rows = [json.loads(line) for line in self.output.read_bytes().decode().split("\n")[:-1]]
        if rows is None:
            vectors = np.load(self.output)
            if self.keeps:
                beside = self.output.with_name(f"{self.output.name}.rows.jsonl").read_text().splitlines()
                rows = [{"id": json.loads(line)["id"], "text": text} for line, text in zip(beside, texts, strict=True)]
            else:
                rows = [{"text": text} for text in texts]
        else:
            vectors = np.array([row["embedding"] for row in rows], np.float32)
        return (
            [row["text"] for row in rows] == texts
            and (ids is None or [row["id"] for row in rows] == ids)
            and np.array_equal(vectors, expected)
        )


def disturbed(job: Job, kind: str, server: Server, chance: random.Random) -> str:
    """Run a job, disturb it once, and finish it; returns a description."""
    wanted = [job.texts]
    part = chance.choice([0.0, chance.random(), chance.random(), 1.0])
    limit = chance.choice([10, chance.randrange(140_000), chance.randrange(2_000_000)]) if kind == "disk" else None
    new = [text if chance.random() > 0.02 or at < 10 else f"new {text}" for at, text in enumerate(job.texts)]
    other = job.source.with_name(f"new-{job.source.name}")
    job.write(new, other)
    process = job.run(server, 2 if kind == "move" else 120, limit)
    # A text file that is cut before the job begins is another input, and a whole one.
    job.wait(process, max(part, 0.001) if kind == "cut" else part)
    if part == 1.0:
        time.sleep(chance.random() * 0.2)
    if kind == "kill":
        process.kill()
    elif kind in ("server", "move"):
        server.kill()
        if kind == "move":
            process.wait()
            server.port = 0
        server.start()
    elif kind == "replace":
        other.replace(job.source)
        wanted.append(new)
    elif kind == "overwrite":
        job.source.write_bytes(other.read_bytes())
        wanted.append(new)
    elif kind == "cut":
        os.truncate(job.source, int(job.source.stat().st_size * chance.random()))
    other.unlink(missing_ok=True)
    _, said = process.communicate()
    how = "done" if process.returncode == 0 else "killed" if process.returncode == -9 else "refused"
    assert "Traceback" not in said, said
    if how == "refused":
        assert process.returncode == 1, said
        assert not job.output.exists(), said
        assert re.search(r"error: .*(changed|File too large|in\.|failed .*after \d+ attempts|nothing listens)", said), (
            said
        )
    if how != "done" or not any(job.equals(each) for each in wanted):
        assert how != "done", f"{kind}: other rows than an undisturbed run has"
        if kind == "cut":
            job.write(job.texts, job.source)
        kept = job.partial.stat().st_size > 10_000 if job.partial.exists() else False
        process = job.run(server, 120)
        _, said = process.communicate()
        if process.returncode == 0 or not job.output.exists():
            assert process.returncode == 0, said
            assert not kept or "continuing after" in said, said
        assert job.equals(wanted[-1]), f"{kind}: other rows than an undisturbed run has"
    beside = {job.source.name, job.output.name, f"{job.output.name}.rows.jsonl"}
    if process.returncode:  # Killed between the rename of the output and its last act.
        beside.add(job.partial.name)
    assert {path.name for path in job.output.parent.iterdir()} <= beside
    return f"{kind} {how}"


def jobs(seed: int, count: int, root: Path) -> Counter[str]:
    """Run jobs; returns descriptions by number."""
    chance = random.Random(seed)
    toy_models.save_text_model(root / "text" / "3")
    base = [*RAWBERT, "serve", "--model_name", "text", "--model_base_path", str(root / "text"), "--host", "127.0.0.1"]
    official = [sys.executable, str(Path(__file__).with_name("official_server.py")), "{port}"]
    ways: Counter[str] = Counter()
    kinds = [kind for _ in range(count) for kind in chance.sample(DISTURBANCES, len(DISTURBANCES))][:count]
    for command, numbers in (
        ([*base, "--port", "{port}"], range(count * 2 // 3)),
        (official, range(count * 2 // 3, count)),
    ):
        server = Server(command)
        try:
            for number in numbers:
                (root / str(number)).mkdir()
                way = disturbed(Job(root / str(number), chance, number), kinds[number], server, chance)
                print(f"seed {seed}, job {number}: {way}", flush=True)
                ways[way] += 1
        finally:
            server.kill()
    return ways


@pytest.mark.slow
def test_disturbed_jobs(tmp_path: Path) -> None:
    seed = int(os.environ.get("RAWBERT_SEED", random.randrange(10**6)))
    print(f"seed {seed}: RAWBERT_SEED={seed} repeats it")
    assert sum(jobs(seed, 40, tmp_path).values()) == 40


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    seed, count = given[0] if given else random.randrange(10**6), given[1] if len(given) > 1 else 40
    with tempfile.TemporaryDirectory() as made:
        for way, number in sorted(jobs(seed, count, Path(made)).items()):
            print(f"{number:>4}  {way}")
