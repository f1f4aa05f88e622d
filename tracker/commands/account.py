"""`tracker account add | list | show | token | tokens | revoke | drain | ban | pardon`."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import click
from pydantic import ValidationError

from laion_protocol import Role
from laion_protocol.messages import AccountRow, Accounts, NewAccount, TokenRow
from laion_protocol.wording import problem

from .output import Answer, moment, prints, table
from .session import Failed, to_tracker
from .treatment import add_verbs
from .words import NAME
from .worker import worker_table


@click.group()
def account() -> None:
    """Who may call the tracker."""


add_verbs(account, one_worker=False)


@account.command()
@click.argument("name", type=NAME)
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default="volunteer",
    show_default=True,
)  # fmt: skip
@click.option("--discord-id", help="Number of the person's Discord user.")
@prints
@to_tracker
def add(name: str, role: str, discord_id: str | None, call: Callable[..., Any]) -> Answer:
    """Make an account and print its token, this once."""
    try:
        new = NewAccount(name=name, role=Role(role), discord_id=discord_id)
    except ValidationError as error:
        raise click.UsageError(problem(error)) from error
    added = call(lambda client: client.add_account(new))
    return Answer(added, [added.token])


@account.command()
@click.argument("name", type=NAME)
@prints
@to_tracker
def token(name: str, call: Callable[..., Any]) -> Answer:
    """Print a new token for an account; its old ones are not taken any more."""
    renewed = call(lambda client: client.renew_token(name))
    return Answer(renewed, [renewed.token])


@account.command()
@click.argument("name", type=NAME)
@prints
@to_tracker
def tokens(name: str, call: Callable[..., Any]) -> Answer:
    """An account's tokens, without their secrets."""
    found = call(lambda client: client.account_tokens(name))
    return Answer(found, _token_table(found.rows) or ["no token"])


@account.command()
@click.argument("name", type=NAME)
@prints
@to_tracker
def revoke(name: str, call: Callable[..., Any]) -> Answer:
    """Take none of the account's tokens any more."""
    call(lambda client: client.revoke_account(name))
    return Answer(_row(name, call(lambda client: client.accounts())), [f"{name} is revoked"])


@account.command("list")
@prints
@to_tracker
def list_accounts(call: Callable[..., Any]) -> Answer:
    """Every account, without tokens."""
    found = call(lambda client: client.accounts())
    return Answer(found, _table(found.rows))


@account.command()
@click.argument("name", type=NAME)
@prints
@to_tracker
def show(name: str, call: Callable[..., Any]) -> Answer:
    """One account, its tokens and its workers."""
    row = _row(name, call(lambda client: client.accounts()))
    found = call(lambda client: client.account_tokens(name))
    fleet = call(lambda client: client.fleet(account=name))
    lines = [*_table([row]), "", *_token_table(found.rows), "", *worker_table(fleet.rows)]
    return Answer((row, found, fleet), lines)


def _row(name: str, accounts: Accounts) -> AccountRow:
    for row in accounts.rows:
        if row.name == name:
            return row
    raise Failed(f"there is no account {name!r}; `account list` shows all", os.EX_DATAERR)


def _table(rows: Iterable[AccountRow]) -> list[str]:
    header = ("ACCOUNT", "ROLE", "SINCE", "DISCORD", "STATE", "WHY")
    return table(
        header,
        [
            (
                row.name, row.role, f"{row.created:%Y-%m-%d}", row.discord_id or "-",
                "revoked" if row.revoked else row.state, row.reason,
            )
            for row in rows
        ],
    )  # fmt: skip


def _token_table(rows: Iterable[TokenRow]) -> list[str]:
    header = ("TOKEN", "LABEL", "SCOPES", "USED", "EXPIRES")
    return table(
        header,
        [
            (
                row.id, row.label, "all" if row.scopes is None else ",".join(row.scopes),
                moment(row.used) if row.used else "-", moment(row.expires) if row.expires else "-",
            )
            for row in rows
        ],
    )  # fmt: skip
