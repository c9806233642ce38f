"""cuse-scullv check-config: whether `serve --config` would take a file."""

from __future__ import annotations

import click

from cuse_scullv.cli import serve
from cuse_scullv.cli._config import path_of
from cuse_scullv.cli._serve_options import Asked
from cuse_scullv.processes.keeper import KeeperError


@click.command("check-config")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def command(files: tuple[str, ...]) -> None:
    """Check files of options for `cuse-scullv serve --config`, and serve nothing.

    FILE is a path, or the NAME of /etc/cuse-scullv/NAME.toml.
    """
    for file in files:
        path = path_of(file)
        try:
            with serve.command.make_context("serve", ["--config", file]) as context:
                serve.check_all(Asked(**context.params), context)
        except KeeperError as error:
            raise click.ClickException(f"{path}: {error}") from None
        except click.UsageError as error:
            said = error.format_message().removeprefix(f"{path}: ")
            raise click.ClickException(f"{path}: {said}") from None
        click.echo(f"{path}: good")
