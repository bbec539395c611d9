"""The export in its steps: fetch, read, build, prove, check the ops, publish."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..serving import contract
from ..serving.interrupts import held
from ..serving.wire.messages import signature_infos
from . import memory, scratch, sources
from .errors import OutputError, TargetError, os_errors_as
from .proof import verify
from .publish import batching_params, bundle, manifest, model_card, models, models_config, versions, warmup
from .publish.bundle import Bundle, Staging
from .recipe import EXACT, ExportConfig
from .resolve import resolve
from .targets import op_gate, saved_model
from .targets.content_hash import content_hash
from .targets.graph_hash import Unhashable
from .targets.graph_rules import declared
from .targets.tensor_bundle import CorruptIndex

#: Called with a line for people at the start of each step.
Progress = Callable[[str], None]


def export(config: ExportConfig, progress: Progress | None = None) -> Bundle:
    """Package a checkpoint as a SavedModel that takes plain strings, verify it, and publish it.

    The version folder appears by one rename after a successful proof; on any error or interrupt, no files remain.

    Args:
        config: the recipe.
        progress: called with a line of text at the start of each step.

    Returns:
        The published version.

    Raises:
        ExportError: see :mod:`rawbert.exporter.errors`.
    """
    began = time.monotonic()
    say = progress or (lambda line: None)
    listing = config.base_path.parent / models_config.FILE
    if config.models_config:
        models.check(listing, config.base_path, config.model_name)
    with (
        Staging(config.base_path, config.version, config.force) as staging,
        sources.fetched(config.encoder, config.revision, say) as location,
        scratch.temporary() as twins,
    ):
        folder = staging.folder
        say(f"reading {location.folder}")
        recipe, checkpoint = resolve(config, sources.load(location))
        if checkpoint.encoder is not None:
            memory.require(checkpoint.encoder, recipe.max_seq_length, recipe.pair)

        say("loading TensorFlow")
        with held():
            from .graph import savedmodel

        twin = None
        if recipe.precision != EXACT:
            say(f"building the graph in {EXACT} for the first proof")
            twin = twins / EXACT
            savedmodel.export(replace(recipe, precision=EXACT), checkpoint, twin)
        say("building the graph and writing the SavedModel")
        recipe = savedmodel.export(recipe, checkpoint, folder)
        # The verifying process loads the weights again, and memory may not suffice for both.
        checkpoint = replace(checkpoint, weights={})
        meta_graph = _gate(folder, recipe.target_serving)
        infos = signature_infos(meta_graph.signature_def)
        signatures = {
            name: tuple(infos[name].outputs[output.name] for output in declared(meta_graph, name))
            for name in (contract.DEFAULT_SIGNATURE, *recipe.signatures)
        }

        say("verifying the SavedModel in a fresh process")
        report = verify.prove(verify.Task(folder, recipe, location.folder, float32=twin, record=True))

        say("publishing")
        with os_errors_as(OutputError, f"{config.base_path}: the version cannot be written"):
            batching = batching_params.choose(recipe.max_seq_length, map(contract.signature, recipe.signatures))
            (folder / contract.BATCHING_FILE).write_text(batching.render(), encoding="utf-8")
            made = manifest.make(config.model_name, recipe, location, checkpoint, signatures, report.figures())
            made["batching"] = asdict(batching)
            made["warmup_records"] = warmup.write(folder, config.model_name, recipe, batching.max_execution_batch_size)
            try:
                made["content_hash"] = content_hash(folder, meta_graph)
            except (Unhashable, CorruptIndex) as error:
                raise OutputError(f"the SavedModel has no content hash: {error}; nothing was published") from error
            manifest.write(folder, made)
            model_card.write(folder, made, location.folder)
            size = bundle.size_of(folder)
        if config.models_config:
            path, version = versions.publish(staging, listing, config.base_path, config.model_name, config.served_from)
        else:
            path, version = staging.publish()
    return Bundle(
        path=path,
        base_path=config.base_path,
        version=version,
        name=config.model_name,
        signatures=signatures,
        size=size,
        seconds=time.monotonic() - began,
        manifest=made,
    )


def _gate(folder: Path, target: str) -> Any:
    """Check every op of the written graph against the target release; returns its ``MetaGraphDef``."""
    try:
        model = saved_model.read(folder)
    except saved_model.Unreadable as error:
        raise TargetError(f"{error}; nothing was published") from error
    findings = op_gate.check(map(saved_model.Graph, model.meta_graphs), target)
    if lines := [f"\n  - {finding.message}" for finding in findings]:
        raise TargetError(
            f"TensorFlow Serving {target} cannot run the graph; choose another --target-serving:{''.join(lines)}\n"
            "nothing was published"
        )
    return model.meta_graphs[0]
