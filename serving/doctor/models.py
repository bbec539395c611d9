"""Checks of the model: versions, labels and answers."""

import time
from collections.abc import Callable, Collection, Sequence

import grpc
import numpy as np

from ..contract import DEFAULT_SIGNATURE, SIGNATURE_NAMES, Kind, version_of
from ..errors import ModelNotFound, ServingError
from ..wire.codec import Array
from ..wire.messages import VersionStatus
from .finding import NotKnown, Result, check, ok, problem, unknown, warning
from .probe import LONG, Probe, Times

#: Common labels, which are checked even if no setting names them.
_LABELS = ("stable", "canary")
#: Seconds within which a server finds a new version: it polls every second by default, and models.config every 5 s in
#: our stack.
_PICKED_UP = 8.0
#: Metrics of TensorFlow Serving with a label for the version's path.
_LOADS, _WARMUPS = ":tensorflow:cc:saved_model:load_attempt_count{", ":tensorflow:serving:model_warmup_latency"
#: The first call was not warmed up if it takes longer than a later call by more than both: seconds, and a multiple.
_COLD, _COLD_TIMES = 0.1, 4.0
#: Tolerance of answers to the same text in different batches, relative to the largest number: bfloat16 stays below it.
_DIFFERENT = 0.05
_KINDS = (Kind.VECTOR, Kind.SCORE, Kind.LABEL_SCORE)


@check(
    "GetModelStatus of the model: no AVAILABLE version is a problem",
    "Read the error in the state and the server's log, and compare --model with the server's name of the model.",
)
def model(probe: Probe) -> Result:
    """The model exists and can answer."""
    try:
        states = probe.states
    except ModelNotFound as error:
        return problem(str(error))
    wanted = [state for state in states if probe.version in (None, state.version)]
    there = [str(state.version) for state in wanted if state.state == "AVAILABLE"]
    if there:
        return ok(f"{probe.model}: version {', '.join(there)} AVAILABLE")
    found = ", ".join(f"version {state.version} {state.state}" for state in wanted or states)
    return problem(f"{probe.model}: {found}" if wanted else f"{probe.model} has no version {probe.version}: {found}")


@check(
    "states with an error, such as a version that could not be loaded, are a problem; a version that is LOADING for 8"
    " s is a warning: its load may have failed, and is repeated later",
    "Correct the error in the state or in the server's log, and publish the model under a new number: a failed "
    "version is never tried again. `rawbert check FOLDER` shows whether TensorFlow Serving can load it.",
)
def failed_versions(probe: Probe) -> Result:
    """No version failed to load."""
    failed = [state for state in probe.states if state.error_code or state.error_message]
    if failed:
        said = (f"version {each.version} {each.state}: {_short(each.error_message)}" for each in failed)
        return problem("; ".join(said))
    if not _in_time(lambda: not _those(probe.status(), "START", "LOADING")):
        loading = _listed(_those(probe.status(), "START", "LOADING"))
        return warning(f"version {loading} has been LOADING for {_PICKED_UP:g} s")
    return ok("none")


@check(
    "AVAILABLE versions that are not the newest and have no label (stable, canary, those of models.config, "
    "--version-label), seen twice, a second apart",
    "Set model_version_policy to latest, or to the versions with labels (`rawbert promote` does): each version needs "
    "memory. `rawbert prune` removes old folders.",
)
def extra_versions(probe: Probe) -> Result:
    """No unused version is loaded."""
    loaded = _those(probe.states, "AVAILABLE")
    if len(loaded) > 1:
        time.sleep(1.0)
        loaded &= _those(probe.status(), "AVAILABLE")
    meant = {version for label in _labels(probe) if (version := _meaning(probe, label)) is not None}
    extra = loaded - meant - {max(loaded, default=0), probe.version}
    if extra:
        return warning(f"version {_listed(extra)} is loaded in addition to {max(loaded)}, and has no label")
    return ok(f"{len(loaded)} loaded")


@check(
    "each label of models.config, stable, canary and --version-label: a label that is missing, points to a version "
    "that is not loaded, or points for 8 s to another version than in models.config, is a problem",
    "Point the label to a loaded version (`rawbert promote`), keep that version in the version policy, and start the "
    "server with --allow_version_labels_for_unavailable_models and --model_config_file_poll_wait_seconds.",
)
def labels(probe: Probe) -> Result:
    """Each label has a loaded version."""
    probe.states  # noqa: B018 fails if the model does not exist
    configured = dict(probe.listed.version_labels) if probe.listed is not None else {}
    expected = {*configured, probe.version_label}
    found, wrong = [], []
    for label in sorted(_labels(probe)):
        try:
            wanted = configured.get(label)
            version = _settled(probe, label, wanted)
            found.append(f"{label}: {version}")
            if wanted not in (None, version):
                wrong.append(f"{label}: {version}, but {wanted} in models.config")
        except ServingError as error:
            if error.code is grpc.StatusCode.NOT_FOUND or label in expected:
                wrong.append(f"{label}: {_short(error.details)}")
    return problem("; ".join(wrong)) if wrong else ok(", ".join(found) or "none")


def _settled(probe: Probe, label: str, wanted: int | None) -> int:
    """The version of a label, after the time in which a server reads models.config again."""
    _in_time(lambda: wanted in (None, probe.labelled(label)))
    return probe.labelled(label)


def _labels(probe: Probe) -> set[str]:
    listed = set(probe.listed.version_labels) if probe.listed is not None else set()
    return {*_LABELS, *listed, *([probe.version_label] if probe.version_label else ())}


def _meaning(probe: Probe, label: str) -> int | None:
    try:
        return probe.labelled(label)
    except ServingError:
        return None


@check(
    "the newest version folder in --models, or the versions of models.config, compared with the server's versions, "
    "for up to 8 s",
    "Check that the server polls (--file_system_poll_wait_seconds: 1 by default, 0 once, -1 never), that this folder "
    "is mounted there, and that the version policy in models.config includes the version.",
)
def published(probe: Probe) -> Result:
    """The server knows all published versions."""
    if probe.models is None:
        raise NotKnown("the server's folder is not known (--models)")
    folder = probe.models / probe.folder_name
    try:
        numbers = {version_of(path.name) for path in folder.iterdir() if path.is_dir()}
    except OSError as error:
        raise NotKnown(f"{folder} cannot be read: {error.strerror}") from error
    found = {number for number in numbers if number is not None}
    wanted, where = {max(found)} if found else set(), str(folder)
    if probe.listed is not None:
        policy = probe.listed.model_version_policy
        if policy.WhichOneof("policy_choice") == "specific":
            wanted, where = set(policy.specific.versions), "models.config"
    if not wanted:
        raise NotKnown(f"{folder} has no version")
    if not _in_time(lambda: wanted <= _those(probe.status())):
        known = _those(probe.status())
        return problem(f"version {_listed(wanted - known)} is in {where}, but the server only knows {_listed(known)}")
    return ok(f"version {_listed(wanted)} is known")


@check(
    "the names and inputs of the model's signatures: no signature of rawbert with the input text is a warning",
    "Export the checkpoint with `rawbert export`: the client's embed, classify, tag and tokenize need these "
    "signatures. predict works with any signature.",
)
def signatures(probe: Probe) -> Result:
    """The model takes plain strings by the signatures that the client calls."""
    ours = [name for name in SIGNATURE_NAMES if name in probe.signatures]
    if ours:
        return ok(", ".join(ours))
    return warning(f"no signature of rawbert, only: {', '.join(probe.described.signatures) or 'none'}")


@check(
    "a signature serving_default in the model's metadata",
    "Save the model with the signature serving_default, as `rawbert export` does: calls without a signature name, "
    "over REST too, use it.",
)
def default_signature(probe: Probe) -> Result:
    """Calls that name no signature are answered."""
    if DEFAULT_SIGNATURE in probe.described.signatures:
        return ok("available")
    return warning(f"not available, only: {', '.join(probe.described.signatures) or 'none'}")


@check(
    "the first call to each signature, compared with the fastest of four later calls: 0.1 s and four times as long is"
    " a warning (only the first run can see this: the first call warms the server up); so is a version that the "
    "metrics count as loaded, but not as warmed up",
    "Put warmup records for every signature into assets.extra/tf_serving_warmup_requests, as `rawbert export` does, "
    "and do not start the server with --enable_model_warmup=false.",
)
def warmup(probe: Probe) -> Result:
    """The first call is as fast as the others."""
    timed = {name: times for name, times in probe.times.items() if isinstance(times, Times)}
    cold = [
        f"{name} {1000 * each.first:.0f} ms, later {1000 * each.later:.1f} ms"
        for name, each in timed.items()
        if each.first - each.later > max(_COLD, _COLD_TIMES * each.later)
    ]
    if cold:
        return warning(f"first calls were slow: {'; '.join(cold)}")
    if not timed:
        return unknown("no signature answers")
    if _loaded_cold(probe):
        return warning(f"version {probe.described.version} was loaded without warmup records")
    return ok("; ".join(f"{name} {1000 * each.later:.1f} ms" for name, each in timed.items()))


def _loaded_cold(probe: Probe) -> bool:
    """Whether the metrics count a load of the version, but no warmup."""
    path = f'/{probe.folder_name}/{probe.described.version}"'
    page = (probe.http.status and probe.http.metrics) or ""
    counted = [line for line in page.splitlines() if path in line]
    return any(_LOADS in line for line in counted) and not any(_WARMUPS in line for line in counted)


@check(
    "one text to each signature: errors, and numbers that are not finite, are a problem",
    "Read the error and the server's log. `rawbert verify --address` compares the answers with the reference of the "
    "export. If numbers are not finite, export in bfloat16 or float32: float16 overflows for some checkpoints.",
)
def answers(probe: Probe) -> Result:
    """Each signature answers with finite numbers."""
    wrong = []
    for name, times in probe.times.items():
        if not isinstance(times, Times):
            wrong.append(f"{name}: {_short(str(times))}")
            continue
        for output, array in probe.predict(name, [LONG, b"a"]).items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                wrong.append(f"{name}: {output} is not finite")
    return problem("; ".join(wrong)) if wrong else ok(", ".join(probe.times))


@check(
    "a text alone, and the same text with seven others: vectors and scores that differ by more than 5% of the largest"
    " number are a problem",
    "Look for enable_large_batch_splitting in the batching parameters (it misaligns rows of unequal length), and for "
    "a graph that attends to padding. `rawbert verify --address` names the samples.",
)
def rows(probe: Probe) -> Result:
    """The answer to a text does not depend on the other texts of its batch."""
    compared = []
    for name, times in probe.times.items():
        outputs = probe.outputs(name, _KINDS)
        if not isinstance(times, Times) or not outputs:
            continue
        alone, company = probe.predict(name, [b"a text"]), [LONG, b"a text", *[b"more of them"] * 6]
        together = probe.predict(name, company[: probe.batch_limit if probe.batched else None])
        for output in outputs:
            if len(together[output]) > 1 and _differ(alone[output][0], together[output][1]):
                return problem(f"{name}: {output} of a text depends on the other texts of its batch")
        compared.append(name)
    if not compared:
        raise NotKnown("no signature answers with vectors or scores")
    return ok(", ".join(compared))


@check(
    "the newest AVAILABLE version of each address, and its answer to the same text: other versions, or other numbers "
    "from the same version, are a problem",
    "Publish the same version to all servers of one name, and wait until it is AVAILABLE on each (`rawbert status "
    "--wait`) before callers use it: an index needs vectors of one model.",
)
def same_versions(probes: Sequence[Probe]) -> Result:
    """Several servers answer with the same model."""
    newest = {probe.address: probe.described.version for probe in probes}
    if len(set(newest.values())) > 1:
        return problem(", ".join(f"{address} answers with version {version}" for address, version in newest.items()))
    first, *others = (_numbers(probe) for probe in probes)
    if any(_differ(first, other) for other in others):
        return problem(f"version {min(newest.values())} gives different numbers at {', '.join(newest)}")
    return ok(f"version {min(newest.values())} at each address")


def _numbers(probe: Probe) -> Array:
    """The numbers for one text, from the first signature that answers with floats; shape (1, ...)."""
    for name in probe.signatures:
        for array in probe.predict(name, [LONG]).values():
            if array.dtype.kind == "f":
                return array
    raise NotKnown("no signature answers with floats")


def _differ(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return True
    most = np.abs(one).max(initial=0.0)
    return bool(np.abs(one - other).max(initial=0.0) > _DIFFERENT * max(most, 1e-6))


def _those(states: list[VersionStatus], *names: str) -> set[int]:
    """The versions in one of some states; without names, all versions."""
    return {state.version for state in states if not names or state.state in names}


def _listed(versions: Collection[int]) -> str:
    return ", ".join(map(str, sorted(versions)))


def _in_time(condition: Callable[[], bool]) -> bool:
    """Whether a condition becomes true within the time of the server's next polls."""
    end = time.monotonic() + _PICKED_UP
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.5)
    return met


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]} ..."
