"""The export itself: source, encoder, SavedModel, verification, publication, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..serving import malloc
from . import sources  # fmt: skip
from .errors import ConfigError, TargetError
from .proof import answers, verify
from .publish import batching_params, bundle, manifest, model_card, models, models_config, versions, warmup
from .publish.bundle import Bundle, Staging, Tensor
from .recipe import SHORTEST_SEQUENCE, ExportConfig
from .sources.checkpoint import Checkpoint, PoolingRecipe
from .targets import op_gate, saved_model
from .targets.content_hash import content_hash

__all__ = ["export"]

#: Called with a line for people whenever a step begins.
Progress = Callable[[str], None]


def export(config: ExportConfig, progress: Progress | None = None) -> Bundle:
    """Package a checkpoint as a SavedModel that takes raw strings, verify it, and publish it.

    The version folder appears by one rename when everything has been found right; on any error, an interrupt
    included, nothing is left behind.

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
    ):
        say(f"reading {location.folder}")
        checkpoint = sources.load(location)
        length = _max_seq_length(config, checkpoint)
        pooling = _pooling(config, checkpoint)

        say("loading TensorFlow")
        from .graph import signatures

        names = signatures.choose(checkpoint, pooling, config.signatures)
        pooling = pooling if "embed" in names else None

        impl, described = _write(config, checkpoint, pooling, names, length, staging.folder, say)
        # The verifying process has weights of its own, and a machine may not hold both.
        checkpoint = replace(checkpoint, weights={})
        malloc.give_back()

        meta_graph = _gate(staging.folder, config.target_serving)

        say("verifying it in a fresh process")
        overridden = config.pooling is not None or config.normalize is not None
        report = verify.verify(
            verify.Job(
                saved_model=str(staging.folder),
                source=str(location.folder),
                is_hub=checkpoint.kind == "hub",
                signatures=names,
                default=signatures.default_of(names),
                max_seq_length=length,
                pooling=pooling.modes if pooling and overridden else None,
                normalize=bool(pooling and "normalize" in pooling.steps),
                tolerance=config.allowed[0],
                min_cosine=config.allowed[1],
                tokenization=config.tokenization,
                record=str(staging.folder / answers.FILE),
            )
        )

        say("publishing")
        params = batching_params.choose(length, (tensor.shape for outputs in described.values() for tensor in outputs))
        params.write(staging.folder)
        records = warmup.write(staging.folder, config.model_name, length, params.max_execution_batch_size)
        written = manifest.make(
            config,
            location,
            checkpoint,
            impl,
            length,
            pooling,
            described,
            signatures.default_of(names),
            report,
            params,
            records,
        )
        written["content_hash"] = content_hash(staging.folder, meta_graph)
        manifest.write(staging.folder, written)
        model_card.write(staging.folder, written, location.folder)
        size = bundle.size_of(staging.folder)
        if config.models_config:
            path, version = versions.publish(staging, listing, config.base_path, config.model_name, config.served_from)
        else:
            path, version = staging.publish()
    return Bundle(
        path=path,
        base_path=config.base_path,
        version=version,
        name=config.model_name,
        signatures=described,
        size=size,
        seconds=time.monotonic() - began,
        manifest=written,
    )


def _write(
    config: ExportConfig,
    checkpoint: Checkpoint,
    pooling: PoolingRecipe | None,
    names: Sequence[str],
    length: int,
    folder: Path,
    say: Progress,
) -> tuple[str, dict[str, tuple[Tensor, ...]]]:
    """Build the SavedModel and write it: which encoder it has, and the outputs of each signature."""
    from .graph import savedmodel

    say("building the graph")
    impl, encoder = savedmodel.choose_encoder(checkpoint, config.encoder_impl, config.pair, config.precision)
    module = savedmodel.build(checkpoint, encoder, pooling, length, config.tokenization)
    say("writing the SavedModel")
    functions = savedmodel.write(module, names, checkpoint, folder)
    return impl, {name: _outputs(function) for name, function in functions.items()}


def _gate(folder: Path, target: str) -> Any:
    """Hold every op of the written graph to the target release; its ``MetaGraphDef``."""
    model = saved_model.read(folder)
    problems = op_gate.check(map(saved_model.Graph, model.meta_graphs), target)
    if problems:
        raise TargetError(f"{op_gate.explain(problems, target)}\nnothing was published")
    return model.meta_graphs[0]


def _max_seq_length(config: ExportConfig, checkpoint: Checkpoint) -> int:
    length, limit = config.max_seq_length, checkpoint.max_positions
    if length is None:
        if checkpoint.max_seq_length < SHORTEST_SEQUENCE:
            raise ConfigError(
                f"{checkpoint.location} limits texts to {checkpoint.max_seq_length} tokens, and at least "
                f"{SHORTEST_SEQUENCE} are needed; choose another limit with --max-seq-length"
            )
        return checkpoint.max_seq_length
    if limit is not None and length > limit:
        raise ConfigError(f"max_seq_length is {length}, but {checkpoint.location} has only {limit} positions")
    return length


def _pooling(config: ExportConfig, checkpoint: Checkpoint) -> PoolingRecipe | None:
    """The recipe behind ``embed``: the checkpoint's own, or what the configuration puts in its place."""
    recipe = checkpoint.pooling
    if config.pooling is not None:
        recipe = PoolingRecipe((config.pooling,))
    if config.normalize is None or recipe is None:
        if config.normalize is not None:
            raise ConfigError("normalize needs a pooling recipe; choose one with --pooling")
        return recipe
    if any(step != "normalize" for step in recipe.steps):
        raise ConfigError("normalize cannot be changed in a recipe with dense layers; choose a --pooling of your own")
    return replace(recipe, steps=("normalize",) if config.normalize else ())


def _outputs(function: Any) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name, value.dtype.name, tuple(-1 if size is None else size for size in value.shape))
        for name, value in function.structured_outputs.items()
    )
