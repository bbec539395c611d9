"""``rawbert certs``: certificates for TLS on a developer's machine.

Exit codes: 0 written, 1 not written, 2 wrong usage.
"""

from pathlib import Path

import click

from ..certificates import LOCAL, make_certificates
from .output import print_lines


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", "names", multiple=True, metavar="NAME",
              help="Name or IP address of the server; repeatable.  [default: localhost, 127.0.0.1, ::1]")  # fmt: skip
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 36500),
              help="Validity of the server's and the client's certificate.")  # fmt: skip
@click.option("--client-verify/--no-client-verify", default=True, show_default=True,
              help="Require a client certificate in ssl.config (mutual TLS).")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace existing files; all keys are new.")
def certs(out: Path, names: tuple[str, ...], days: int, client_verify: bool, overwrite: bool) -> None:
    """Create a development CA, certificates of a server and a client, and the server's ssl_config_file.

    The folder OUT then contains ca.pem, server.pem, client.pem, their private keys (.key) and ssl.config. Only this
    user can read the keys. For production, use certificates of your own CA.

    \b
    Examples:
      rawbert certs certs
      rawbert certs certs --name bert.internal --name 10.0.0.7 --days 30
    """
    try:
        make_certificates(out, names or LOCAL, days, client_verify, overwrite)
    except FileExistsError as error:
        raise click.ClickException(f"{error}: --overwrite replaces them, another folder keeps them") from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--name") from error
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written: {error.strerror or error}") from error
    own = f" --tls-cert {out}/client.pem --tls-key {out}/client.key" if client_verify else ""
    address = f"{names[0]}:8500" if names else "localhost:8500"
    print_lines(
        [
            f"Wrote a development CA and certificates for {', '.join(names or LOCAL)} to {out}. Next:",
            f"  rawbert serve models --port 8500 --ssl_config_file {out}/ssl.config",
            f'  rawbert embed --address {address} --tls-ca {out}/ca.pem{own} "hello"',
        ]
    )
