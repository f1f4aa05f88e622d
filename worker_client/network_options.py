"""`network_options`: what the volunteer says of the network and the machine, for both commands."""

import os
from typing import Any

import click


class _Address(click.ParamType[tuple[str, int], str]):
    """`ADDRESS:PORT`, numeric: what is opened is an address, whatever names lead to it."""

    name = "ADDRESS:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        from .pipeline.addresses import parse_endpoint

        try:
            return parse_endpoint(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Server(click.ParamType[tuple[str, int], str]):
    """`HOST:PORT`, as the address to which the host leads at the start."""

    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        from .pipeline.addresses import parse_endpoint

        host, _, port = str(value).rpartition(":")
        decimal = port.isascii() and port.isdecimal() and len(port) <= 5
        if not host or not decimal or not 0 < int(port) < 65536:
            self.fail(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8080", param, ctx)
        try:
            return parse_endpoint(str(value))
        except ValueError:
            return self._resolved(host, int(port), param, ctx)

    def _resolved(
        self, host: str, port: int, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        import socket

        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            self.fail(f"{host!r} does not resolve to an address ({why})", param, ctx)
        return str(found[0][4][0]), port


def network_options(command: Any) -> Any:
    """Add the options; `cli` makes `ChainOptions` of them."""
    for option in (
        click.option(
            "--contact",
            metavar="URL",
            help="whom site owners may ask; part of the User-Agent  [default: the project]",
        ),
        click.option(
            "--connect-to",
            type=_Server(),
            metavar="HOST:PORT",
            help="send every image request to this server instead (for tests and the demo)",
        ),
        click.option(
            "--allow-private",
            type=_Address(),
            metavar="ADDRESS:PORT",
            multiple=True,
            help="open this address although it is private (for tests and the demo); repeatable",
        ),
        click.option(
            "--decoders",
            type=click.IntRange(1, 256),
            default=max(1, (os.cpu_count() or 2) - 1),
            show_default="CPUs - 1",
            help="processes that open pictures",
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(1, 65536),
            help="pictures scored at once  [default: by device]",
        ),
    ):
        command = option(command)
    return command
