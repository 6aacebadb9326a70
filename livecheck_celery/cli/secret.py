"""``secret``: a new secret key."""

from __future__ import annotations

import secrets

import click


@click.command()
def secret() -> None:
    r"""Print a new random key for the setting secret_key.

    All services that a test crosses need the same key. livecheck doctor shows the ids of the keys of a service, from
    which nobody can find the keys.

    \b
    Exit codes:
      0  the key was printed

    \b
    Examples:
      export LIVECHECK_SECRET_KEY=$(livecheck secret)
      LIVECHECK_SECRET_KEY="$(livecheck secret),$OLD_KEY"     # to rotate it
    """
    click.echo(secrets.token_urlsafe(32))
