"""`tracker account add | list | token | revoke`."""

import os
from collections.abc import Callable
from typing import Any

import click
from pydantic import ValidationError

from laion_protocol import Role
from laion_protocol.messages import NewAccount

from .session import Failed, to_tracker


@click.group()
def account() -> None:
    """Who may call the tracker."""


@account.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default="volunteer",
    show_default=True,
)  # fmt: skip
@click.option("--discord-id", help="Number of the person's Discord user.")
@to_tracker
def add(name: str, role: str, discord_id: str | None, call: Callable[..., Any]) -> None:
    """Make an account and print its token, this once."""
    try:
        new = NewAccount(name=name, role=Role(role), discord_id=discord_id)
    except ValidationError as error:
        first = error.errors()[0]
        raise Failed(f"{first['loc'][0]}: {first['msg']}", os.EX_USAGE) from error
    click.echo(call(lambda client: client.add_account(new)).token)


@account.command()
@click.argument("name")
@to_tracker
def token(name: str, call: Callable[..., Any]) -> None:
    """Print a new token for an account; its old ones are not taken any more."""
    click.echo(call(lambda client: client.renew_token(name)).token)


@account.command()
@click.argument("name")
@to_tracker
def revoke(name: str, call: Callable[..., Any]) -> None:
    """Take none of the account's tokens any more."""
    call(lambda client: client.revoke_account(name))
    click.echo(f"{name} is revoked")


@account.command("list")
@to_tracker
def list_accounts(call: Callable[..., Any]) -> None:
    """Every account, without tokens."""
    for row in call(lambda client: client.accounts()).rows:
        discord = f"  discord {row.discord_id}" if row.discord_id else ""
        revoked = "  revoked" if row.revoked else ""
        click.echo(f"{row.name}  {row.role}  since {row.created:%Y-%m-%d}{discord}{revoked}")
