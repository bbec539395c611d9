"""``rawbert push``: upload a version to an object store.

Exit codes: 0 uploaded, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from ...serving.cli.output import print_json, print_lines
from ...serving.cli.telling import progress
from ...serving.plurals import counted
from ..publish.models import find
from ..publish.push import push as pushed
from .common import failing, json_option, user_path


@click.command()
@click.argument("model", type=user_path)
@click.argument("url")
@click.option("--version", type=click.IntRange(min=0), help="Number of the version.  [default: the newest]")
@click.option(
    "--models", type=user_path, default=Path("models"), show_default=True, metavar="FOLDER",
    help="Folder of the models, if MODEL is a name.",
)  # fmt: skip
@click.option(
    "--no-models-config", is_flag=True,
    help="Do not write models.config: servers that poll the folder may load an incomplete version.",
)  # fmt: skip
@click.option(
    "--served-from", metavar="PATH",
    help="Path of the models' folder on the servers, such as /models for a copy.  [default: the parent of URL]",
)  # fmt: skip
@click.option(
    "--settle", type=click.FloatRange(min=0), default=10.0, show_default=True,
    help="Seconds for servers to read models.config after its version policy was pinned.",
)  # fmt: skip
@click.option("--restart", is_flag=True, help="Remove the files of an unfinished push of other content.")
@click.option("--dry-run", is_flag=True, help="Only print the number of bytes to send.")
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
    """Upload a version of MODEL (its folder, or its name) to URL, the model's folder in an object store.

    fsspec opens URL: s3:// (needs s3fs), gs:// (needs gcsfs), or a path. Every file is read back and compared by its
    sha256; saved_model.pb is last, and then models.config next to the model's folder. The same command continues an
    interrupted push. A number with other content is refused.

    \b
    Examples:
      rawbert push models/minilm s3://bucket/models/minilm
      rawbert push minilm gs://bucket/models/minilm --version 3 --dry-run
    """
    with failing("; the same command continues from there"), ExitStack() as stack:
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
