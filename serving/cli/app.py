"""The command group, and the table of its sub-commands."""

from difflib import get_close_matches
from importlib import import_module

import click

from ..extras import how_to_install

#: Sub-command -> (module, required extra, line for the help).
COMMANDS = {
    "up": ("exporter.cli.up", "cli", "Export a checkpoint if needed, serve it, and show how to call it."),
    "export": ("exporter.cli.export", "export", "Package a checkpoint as a SavedModel that takes plain strings."),
    "finetune": ("exporter.cli.finetune", "train", "Train a classifier, tagger or scorer on labelled texts."),
    "tokenize": ("exporter.cli.tokenize", "export", "Show the tokens, ids and offsets that an export gives a text."),
    "verify": (
        "exporter.cli.verify",
        "cli",
        "Compare a version, or a running server, with the reference of its export.",
    ),
    "check": ("exporter.cli.check", "cli", "Check whether TensorFlow Serving can run a SavedModel."),
    "inspect": ("exporter.cli.check", "cli", "Show the contents of a SavedModel."),
    "versions": ("exporter.cli.versions", "cli", "List versions and their labels."),
    "promote": ("exporter.cli.versions", "cli", "Point a label, such as stable, to a version."),
    "rollback": ("exporter.cli.versions", "cli", "Point a label to its previous version."),
    "prune": ("exporter.cli.versions", "cli", "Remove old versions."),
    "push": ("exporter.cli.push", "push", "Upload a version to an object store."),
    "serve": ("serving.cli.serve", "server", "Serve models as TensorFlow Serving does, without Docker."),
    "stack": ("serving.cli.stack", "cli", "Run TensorFlow Serving, a gateway and metrics with docker compose."),
    "gateway": ("serving.cli.gateway", "gateway", "Serve the HTTP APIs of OpenAI and others with a model server."),
    "embed": ("serving.cli.embed", "cli", "Embed texts, from arguments, a file or standard input."),
    "classify": ("serving.cli.tasks", "cli", "Label texts, or pairs of texts."),
    "tag": ("serving.cli.tasks", "cli", "Find the entities in texts, with their positions."),
    "rerank": ("serving.cli.tasks", "cli", "Sort documents by relevance to a query."),
    "certs": ("serving.cli.certs", "server", "Create certificates for TLS: development CA, server, client."),
    "bench": ("serving.cli.bench", "cli", "Measure throughput and latency of a server."),
    "doctor": ("serving.cli.doctor", "cli", "Find faults of a running server, with their remedies."),
    "status": ("serving.cli.query", "cli", "Show the versions of a model on a server."),
    "metadata": ("serving.cli.query", "cli", "Show the signatures of a served model."),
}


class _LazyGroup(click.Group):
    """A group that imports a sub-command when it is called, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, extra, _ = COMMANDS[cmd_name]
        try:
            command: click.Command = getattr(import_module(f"rawbert.{module}"), cmd_name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("rawbert"):
                raise
            raise click.ClickException(
                f"{error}; rawbert {cmd_name} needs the {extra} extra: {how_to_install(extra)}"
            ) from error
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0].lower(), COMMANDS, 1)
            meant = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{args[0]}'.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, _, help_line) in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.",
)
@click.version_option(None, "--version", "-V", package_name="rawbert", message="%(prog)s %(version)s")
def rawbert() -> None:
    """Export BERT with its tokenizer as one SavedModel that takes plain strings, serve it, and query it over gRPC."""
