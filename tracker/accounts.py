"""`Accounts`: who may call, by which token, with which rights.

Keys, all in one hash slot:

    {accounts}:names            set of every account's name
    {accounts}:account:<name>   hash: role, created (Unix s), discord_id?, revoked?
    {accounts}:token:<id>       hash: sha256 of the secret, account, act? (who acts for it)
    {accounts}:tokens:<name>    set of the account's own token ids
    {accounts}:discord:<id>     the account linked to that Discord user

A token is `lw_<id>_<secret>`. The secret has 256 random bits, so one SHA-256 is enough at rest
(nothing can be guessed); the id only finds the row.
"""

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis

from laion_protocol import Conflict, Forbidden, NotFound, Role, Unauthorized
from laion_protocol.messages import AccountRow

_TOKEN: Final = re.compile(r"lw_([0-9a-f]{12})_([0-9a-f]{64})")
#: A click in Discord is done in seconds; a stolen delegated token is worth one minute.
DELEGATION: Final = timedelta(seconds=60)

_NAMES: Final = "{accounts}:names"


@dataclass(frozen=True, slots=True)
class Caller:
    """The account behind a request, and the bot that acts for it, if one does."""

    account: str
    role: Role
    act: str | None = None


class Accounts:
    """Adds, finds, revokes. Tokens leave it once, when they are made."""

    def __init__(self, redis: Redis) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis  # its types allow bytes in every answer; this client decodes

    async def add(self, name: str, role: Role, discord_id: str | None = None) -> str:
        """Make an account; its token.

        Raises:
            Conflict: the name, or the Discord user, has an account already.
        """
        token = _Token.new()

        async def write(pipe: Any) -> None:
            if await pipe.exists(_account(name)):
                raise Conflict(f"there is an account {name!r} already; choose another name")
            owner = await pipe.get(_discord(discord_id)) if discord_id else None
            if owner is not None:
                raise Conflict(f"Discord user {discord_id} is linked to {owner!r} already")
            fields = {"role": role.value, "created": str(time.time())}
            pipe.multi()
            if discord_id is not None:
                fields["discord_id"] = discord_id
                pipe.set(_discord(discord_id), name)
            pipe.hset(_account(name), mapping=fields)
            pipe.sadd(_NAMES, name)
            _write_token(pipe, token, name)

        watched = [_account(name)] + ([_discord(discord_id)] if discord_id else [])
        await self._redis.transaction(write, *watched)
        return token.text

    async def ensure(self, token: str, name: str, role: Role, *, renew: bool = False) -> None:
        """Make the account with `token` unless it is there; safe to repeat.

        For the operator's own token, which lies in a file beside the tracker. An account that is
        there keeps the tokens that it has, so one that was replaced after a theft does not come
        back; with `renew`, `token` replaces them. An account that was revoked stays so.

        Raises:
            ValueError: that is no token.
        """
        parsed = _Token.parse(token)
        if parsed is None:
            raise ValueError("not a token of the form lw_<id>_<secret>")

        async def write(pipe: Any) -> None:
            known = await pipe.exists(_account(name))
            old = await pipe.smembers(_tokens(name))
            pipe.multi()
            if not known:
                fields = {"role": role.value, "created": str(time.time())}
                pipe.hset(_account(name), mapping=fields)
                pipe.sadd(_NAMES, name)
            if renew or not known:
                _replace_tokens(pipe, old, parsed, name)

        await self._redis.transaction(write, _account(name), _tokens(name))

    async def renew(self, name: str) -> tuple[Role, str]:
        """A new token in place of all that the account had, e.g. when it was lost.

        Raises:
            NotFound: no such account.
        """
        account = await self._get(name)
        token = _Token.new()
        old = await self._redis.smembers(_tokens(name))
        async with self._redis.pipeline(transaction=True) as pipe:
            _replace_tokens(pipe, old, token, name)
            await pipe.execute()
        return Role(account["role"]), token.text

    async def revoke(self, name: str) -> None:
        """From now on none of the account's tokens is taken; safe to repeat.

        Raises:
            NotFound: no such account.
        """
        await self._get(name)
        await self._redis.hset(_account(name), "revoked", "1")

    async def find(self, token: str) -> Caller:
        """Who calls with this token.

        Raises:
            Unauthorized: nobody does; the token is wrong, revoked or over.
        """
        parsed = _Token.parse(token)
        row = await self._redis.hgetall(_token(parsed.id)) if parsed else {}
        # compared in constant time, also when there is no such row
        if parsed is None or not hmac.compare_digest(parsed.sha256, row.get("sha256", "")):
            raise Unauthorized("this token is not known; check it, or ask an admin for a new one")
        account = await self._redis.hgetall(_account(row["account"]))
        act = row.get("act")
        revoked = "revoked" in account or not account
        if act is not None and not revoked:
            revoked = bool(await self._redis.hexists(_account(act), "revoked"))
        if revoked:
            raise Unauthorized("this account was revoked; ask the project's admins why")
        return Caller(account=row["account"], role=Role(account["role"]), act=act)

    async def delegate(self, bot: str, discord_id: str) -> tuple[str, str]:
        """`(token, account)`: for `DELEGATION`, `bot` has the rights of that person.

        Raises:
            Forbidden: the person has no account, or none with an admin's rights.
        """
        name = await self._redis.get(_discord(discord_id))
        if name is None:
            raise Forbidden(
                "your Discord account is not linked to an account of the tracker; "
                "ask an admin to link it"
            )
        account = await self._redis.hgetall(_account(name))
        if not account or "revoked" in account:
            raise Forbidden(f"the account {name!r} was revoked; ask the project's admins why")
        if account["role"] != Role.ADMIN:
            raise Forbidden(f"the account {name!r} is not an admin's; only admins may do this")
        token = _Token.new()
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(
                _token(token.id), mapping={"sha256": token.sha256, "account": name, "act": bot}
            )
            pipe.expire(_token(token.id), DELEGATION)
            await pipe.execute()
        return token.text, name

    async def rows(self) -> tuple[AccountRow, ...]:
        """Every account, by name."""
        names = sorted(await self._redis.smembers(_NAMES))
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(_account(name))
            found = await pipe.execute()
        return tuple(
            AccountRow(
                name=name,
                role=Role(fields["role"]),
                discord_id=fields.get("discord_id"),
                created=datetime.fromtimestamp(float(fields["created"]), UTC),
                revoked="revoked" in fields,
            )
            for name, fields in zip(names, found, strict=True)
        )

    async def count(self) -> int:
        """How many accounts there are."""
        return int(await self._redis.scard(_NAMES))

    async def _get(self, name: str) -> dict[str, str]:
        account: dict[str, str] = await self._redis.hgetall(_account(name))
        if not account:
            raise NotFound(f"there is no account {name!r}; `account list` shows all")
        return account


@dataclass(frozen=True, slots=True)
class _Token:
    id: str
    secret: str

    @staticmethod
    def new() -> "_Token":
        return _Token(secrets.token_hex(6), secrets.token_hex(32))

    @staticmethod
    def parse(text: str) -> "_Token | None":
        match = _TOKEN.fullmatch(text)
        return _Token(*match.groups()) if match else None

    @property
    def text(self) -> str:
        return f"lw_{self.id}_{self.secret}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"<token {self.id}>"  # a secret must not reach a log by way of a traceback


def new_token() -> str:
    """A token that no account has yet."""
    return _Token.new().text


def _write_token(pipe: Any, token: _Token, name: str) -> None:
    pipe.hset(_token(token.id), mapping={"sha256": token.sha256, "account": name})
    pipe.sadd(_tokens(name), token.id)


def _replace_tokens(pipe: Any, old: set[str], token: _Token, name: str) -> None:
    for token_id in old:
        pipe.delete(_token(token_id))
    pipe.delete(_tokens(name))
    _write_token(pipe, token, name)


def _account(name: str) -> str:
    return f"{{accounts}}:account:{name}"


def _token(token_id: str) -> str:
    return f"{{accounts}}:token:{token_id}"


def _tokens(name: str) -> str:
    return f"{{accounts}}:tokens:{name}"


def _discord(discord_id: str) -> str:
    return f"{{accounts}}:discord:{discord_id}"
