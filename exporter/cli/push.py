"""``rawbert push``: a version to an object store.

Exit codes: 0 it is there, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from ...serving.cli.output import counted, print_json, print_lines
from ...serving.cli.telling import progress
from ..publish.models import find
from ..publish.push import push as pushed
from .common import failing, json_option, user_path


@click.command()
@click.argument("model", type=user_path)
@click.argument("url")
@click.option("--version", type=click.IntRange(min=0), help="Which version.  [default: the newest]")
@click.option(
    "--models", type=user_path, default=Path("models"), show_default=True, metavar="FOLDER",
    help="Folder of the models, for a MODEL that is given by its name.",
)  # fmt: skip
@click.option(
    "--no-models-config", is_flag=True,
    help="Leave models.config there alone: servers that poll the folder may see the version too soon.",
)  # fmt: skip
@click.option(
    "--served-from", metavar="PATH",
    help="The folder of the models as servers see it, such as /models for a copy.  [default: that of URL]",
)  # fmt: skip
@click.option(
    "--settle", type=click.FloatRange(min=0), default=10.0, show_default=True,
    help="Seconds for servers to read models.config, where its version policy had to be pinned first.",
)  # fmt: skip
@click.option("--restart", is_flag=True, help="Remove what an unfinished push of another content left there.")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@json_option
def push(
    model: Path,
    url: str,
    version: int | None,
    models: Path,
    no_models_config: bool,
    served_from: str | None,
    settle: float,
    restart: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Copy a version of MODEL (its folder, or its name) to URL, the model's folder in an object store.

    URL is anything that fsspec knows: s3:// (needs s3fs), gs:// (needs gcsfs), a path. Every file is read back and
    compared by its sha256; saved_model.pb comes last, and then models.config beside the model's folder. The same
    command goes on where a push was interrupted. A number that has another content is refused.

    \b
    Examples:
      rawbert push models/minilm s3://bucket/models/minilm
      rawbert push minilm gs://bucket/models/minilm --version 3 --dry-run
    """
    with failing("; the same command goes on from there"), ExitStack() as stack:
        done = pushed(
            find(model, models).folder,
            url,
            version=version,
            with_config=not no_models_config,
            served_from=served_from,
            settle=settle,
            restart=restart,
            dry_run=dry_run,
            progress=lambda total: stack.enter_context(progress("push", total)),
        )
    if as_json:
        print_json({**asdict(done), "dry_run": dry_run})
        return
    size, sent = (f"{each / 1e6:.1f} MB" for each in (done.size, done.sent))
    what = f"{done.url}: {counted(done.files, 'file')}, {size}"
    if dry_run:
        print_lines([f"{what}; {sent} would be sent at most"])
        return
    listed = f"; listed in {done.models_config}" if done.models_config else ""
    print_lines([f"{what}, {sent} of it sent now{listed}"])
