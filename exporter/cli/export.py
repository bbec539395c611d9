"""``rawbert export``: flags to :class:`ExportConfig`, progress and results for people, exit codes.

Exit codes: 0 published, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from ...serving.cli.output import print_json, print_lines, print_table, shape_of
from ...serving.contract import DEFAULT_SIGNATURE, SIGNATURE_NAMES, TEXT, TEXT_PAIR, signature
from ..publish import models_config
from ..publish.bundle import Bundle, folders_by_version
from ..publish.models import warnings
from ..publish.models_config import Entry
from ..recipe import ENCODER_IMPLS, HEAD_ACTIVATIONS, POOLING_MODES, PRECISIONS, ExportConfig, Recipe
from ..targets.opsets import NEWEST
from .common import Release, failing, json_option, tokenizer_options


def _split(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    """Split signatures, which may be given one by one or with commas."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip()) or None


def _labels(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Names separated by commas, or from a file."""
    if value is None:
        return None
    if not Path(value).is_file():
        return tuple(name.strip() for name in value.split(","))
    try:
        return tuple(line.strip() for line in Path(value).read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except ValueError as error:
        raise click.BadParameter(f"{value}: not readable as UTF-8 text; save the file as UTF-8: {error}") from error


@click.command(short_help="Package a checkpoint as a SavedModel that takes plain strings.")
@click.argument("encoder")
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), metavar="FOLDER",
    help="Base path of the model; the version is written to FOLDER/<version>.",
)  # fmt: skip
@click.option(
    "--revision", metavar="NAME", help="Branch, tag, commit or version of a hub's model.  [default: the newest]"
)
@click.option("--version", type=int, help="Version number.  [default: the next free integer]")
@click.option(
    "--max-seq-length", type=int, metavar="N",
    help="Maximum tokens of a text, [CLS] and [SEP] included; longer texts are cut.  [default: the checkpoint's own]",
)  # fmt: skip
@click.option(
    "--encoder-impl", type=click.Choice(ENCODER_IMPLS), default="auto", show_default=True,
    help="native rebuilds the transformer from its weights, hub wraps a Hub layer unchanged (and so runs its code), "
    "auto takes native if the weights are understood.",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True,
    help="Dtype of the encoder's matrix products and weights. The loss of exactness is measured and recorded.",
)  # fmt: skip
@click.option(
    "--min-cosine", type=click.FloatRange(0, 1, min_open=True), metavar="X",
    help="Refuse an export with an output vector whose cosine to the float32 reference is below X.  "
    "[default: 0.99999; 0.9995 for a lower precision]",
)  # fmt: skip
@click.option(
    "--signatures", multiple=True, callback=_split, metavar="NAME,...",
    help=f"Signatures to export, of {', '.join(SIGNATURE_NAMES)}.  [default: all that the checkpoint supports]",
)  # fmt: skip
@click.option(
    "--pooling", type=click.Choice(POOLING_MODES),
    help="Rule of embed for token vectors to one vector.  [default: the checkpoint's own recipe]",
)  # fmt: skip
@click.option(
    "--normalize/--no-normalize", default=None, help="Scale embed's vectors to length 1.  [default: as in the recipe]"
)
@tokenizer_options
@click.option(
    "--pair/--no-pair",
    default=None,
    help=f"Take two texts, {TEXT} and {TEXT_PAIR}.  [default: only for cross-encoders]",
)
@click.option("--logits", is_flag=True, help="Return logits from classify, tag and score in place of probabilities.")
@click.option(
    "--labels", callback=_labels, metavar="NAME,...|FILE",
    help="Names of a classifier's or tagger's labels, in their order; or a file with one name per line.  "
    "[default: the checkpoint's own]",
)  # fmt: skip
@click.option(
    "--activation", type=click.Choice(HEAD_ACTIVATIONS),
    help="Function from the last layer's values to probabilities, for a Keras model that does not state it.",
)  # fmt: skip
@click.option("--name", help="Model name for clients.  [default: the last part of --output]")
@click.option(
    "--target-serving", type=Release(), default=NEWEST, show_default=True,
    help="TensorFlow Serving release that must be able to run the model.",
)  # fmt: skip
@click.option(
    "--force",
    is_flag=True,
    help="Replace the version if it exists. A server that has loaded it keeps the old one.",
)
@click.option(
    "--models-config/--no-models-config", default=True, show_default=True,
    help="Add the model to models.config next to FOLDER, if it is not listed.",
)  # fmt: skip
@click.option(
    "--served-from", default=models_config.SERVED_FROM, show_default=True, metavar="PATH",
    help="The folder above FOLDER as the server sees it, for models.config.",
)  # fmt: skip
@json_option
def export(encoder: str, output: Path, as_json: bool, **settings: Any) -> None:
    """Package ENCODER as a SavedModel that takes plain strings, and verify it.

    ENCODER is a folder or an archive of one (tar, zip; also by URL), a fine-tuned model that tf_keras saved, a
    model of the Hugging Face Hub (owner/name), of Kaggle (owner/model/framework/variation), or the URL of a TF Hub
    module. No code in it is run, except a SavedModel, which is a program by nature.

    The version folder appears only after a fresh process has loaded the SavedModel and found the reference's outputs;
    after a failure, no files remain.

    \b
    Examples:
      rawbert export ./all-MiniLM-L6-v2 --output models/minilm
      rawbert export sentence-transformers/all-MiniLM-L6-v2 --revision main --output models/minilm
      rawbert export ./bert_en_uncased --output models/bert --max-seq-length 128 --signatures pooled
      rawbert export ./my_classifier --output models/mine --labels negative,positive
    """
    with failing("; nothing was written"):
        config = ExportConfig(encoder=encoder, output=output, **settings)
        bundle = _run(config, Console(stderr=True))
    with failing(f"; version {bundle.version} is published: {bundle.path}"):
        listing = bundle.base_path.with_name(models_config.FILE)
        entry = models_config.read(listing).find(bundle.name) if config.models_config else None
        if as_json:
            state = {
                "path": str(bundle.path),
                "name": bundle.name,
                "version": bundle.version,
                "size": bundle.size,
                "seconds": round(bundle.seconds, 1),
                "models_config": None if entry is None else {"file": str(listing), **asdict(entry)},
                "manifest": bundle.manifest,
            }
            print_json(state)
        else:
            _show(bundle, listing, entry)


def _run(config: ExportConfig, console: Console) -> Bundle:
    from ..export import export as run

    if not console.is_terminal:
        return run(config, lambda line: click.echo(f"- {line}", err=True))
    with console.status("starting") as status:

        def progress(line: str) -> None:
            console.print(f"[dim]•[/dim] {escape(line)}", highlight=False, soft_wrap=True)
            status.update(f"{escape(line)} ...")

        return run(config, progress)


def _show(bundle: Bundle, listing: Path, entry: Entry | None) -> None:
    rows = []
    recipe = Recipe.from_json(bundle.manifest["recipe"])
    for name in recipe.signatures:
        label = f"{name} ({DEFAULT_SIGNATURE})" if name == recipe.default else name
        for output, tensor in zip(signature(name).outputs_for(recipe.pair), bundle.signatures[name], strict=True):
            rows.append((label, tensor.name, tensor.dtype, shape_of(tensor.shape, output.shape)))
            label = ""
    print_table(f"{bundle.name}, version {bundle.version}", ("signature", "output", "dtype", "shape"), rows)
    checked = bundle.manifest["verification"]
    lines = [
        f"verified  {checked['texts']} texts of {checked['tokens']} tokens (at least {checked['least_texts']} of "
        f"{checked['least_tokens']}), alone and in batches: {checked['calls']} calls",
        "verified  tokens, offsets, counts and labels are equal",
    ]
    for of, figures in (("in float32, ", checked["float32"]), ("", checked)):
        for output, each in figures["outputs"].items() if figures else ():
            off = f"largest difference {each['max_abs']:.1e}"
            off += "" if each["min_cosine"] is None else f", smallest cosine {each['min_cosine']:.7f}"
            lines.append(f"verified  {of}{output}: {off}")
    lines += [f"note      {note}" for note in bundle.manifest["notes"]]
    lines += [
        f"written   {bundle.path}  ({bundle.size / 1e6:.1f} MB, {bundle.seconds:.0f} s, "
        f"texts up to {recipe.max_seq_length} tokens)",
        *_serving(bundle, listing, entry),
    ]
    print_lines(lines)


def _serving(bundle: Bundle, listing: Path, entry: Entry | None) -> list[str]:
    """The effect of the new version on a server, and the command to start one."""
    base_path, models = shlex.quote(str(bundle.base_path)), shlex.quote(str(bundle.base_path.parent))
    if entry is None:
        served = f"--model_name {shlex.quote(bundle.name)} --model_base_path {base_path}"
        return [f"serve     rawbert serve {served} --port 8500"]
    loaded = entry.loads(sorted(folders_by_version(bundle.base_path)))
    if bundle.version not in loaded:
        answers = f"its version policy ({entry.policy}) does not load version {bundle.version}"
    else:
        answers = f"calls without a version get {max(loaded)}"
    lines = [f"listed    {listing}: {bundle.name}, for the server in {entry.base_path}; {answers}"]
    if entry.labels:
        lines += [
            f"labels    {', '.join(f'{label} is version {version}' for label, version in entry.labels.items())}",
            f"promote   rawbert promote {base_path} {bundle.version} --version-label {next(iter(entry.labels))}",
        ]
    lines.append(f"serve     rawbert serve {models} --port 8500")
    if entry.base_path == f"{models_config.SERVED_FROM}/{bundle.base_path.name}":
        lines.append(f"          RAWBERT_MODELS={models} docker compose up    (with rawbert's docker-compose.yml)")
    return [*lines, *(f"warning   {line}" for line in warnings(listing))]
