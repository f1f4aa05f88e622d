"""`Accounts`: who may call, by which tokens, with which rights."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis

from laion_protocol import Conflict, Forbidden, NotFound, Role, Scope, Unauthorized
from laion_protocol.messages import AccountRow, TokenRow
from tracker.queue.scripts import Script, new_call

from . import keys
from .caller import DELEGABLE, SCOPES, Caller
from .gate import Gate, Knock
from .rates import UNLIMITED
from .rows import account_row, token_row
from .token import Token

#: A click in Discord is done in seconds; a stolen delegated token is worth one minute.
DELEGATION: Final = timedelta(seconds=60)

_ADD: Final = Script("add_account", __package__)
_ENSURE: Final = Script("ensure_account", __package__)
_ADD_TOKEN: Final = Script("add_token", __package__)
_DROP_TOKEN: Final = Script("drop_token", __package__)
_FORGET_EXPIRED: Final = Script("forget_expired", __package__)
_DELEGATE: Final = Script("delegate_token", __package__)
_LENDERS: Final = tuple(role for role, scopes in SCOPES.items() if scopes & DELEGABLE)
_SLICE: Final = 500


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token just made: its text is told once."""

    id: str
    text: str
    role: Role


class Accounts:
    """Adds, finds, revokes. Tokens leave it once, when they are made."""

    def __init__(self, redis: Redis) -> None:
        """Use `redis`, made with `decode_responses=True`; the caller closes it."""
        self._redis: Any = redis  # its types allow bytes in every answer; this client decodes
        self._gate = Gate(redis, UNLIMITED)

    async def add(self, name: str, role: Role, discord_id: str | None = None) -> str:
        """Make an account; its token.

        Raises:
            Conflict: the name, or the Discord user, has an account already.
        """
        token = Token.new()
        await self._add(name, role, discord_id, token.id, token.sha256, "first")
        return token.text

    async def add_without_token(self, name: str, role: Role, discord_id: str | None = None) -> None:
        """Make an account whose first token its owner gets by a device login.

        Raises:
            Conflict: the name, or the Discord user, has an account already.
        """
        await self._add(name, role, discord_id, "", "", "")

    async def _add(self, name: str, role: Role, discord_id: str | None, *token: str) -> None:
        answer = await _ADD(
            self._redis, keys.ROOT, name, role.value, discord_id or "", *token, new_call()
        )
        if answer[0] == "taken":
            raise Conflict(f"there is an account {name!r} already; choose another name")
        if answer[0] == "linked":
            raise Conflict(f"Discord user {discord_id} is linked to {answer[1]!r} already")

    async def ensure(self, token: str, name: str, role: Role, *, renew: bool = False) -> None:
        """Make the account with `token` unless it is there; safe to repeat.

        For the operator's own token, which lies in a file beside the tracker. An account that is
        there keeps the tokens that it has, so one that was replaced after a theft does not come
        back; with `renew`, `token` replaces them. An account that was revoked stays so.

        Raises:
            ValueError: that is no token.
        """
        parsed = Token.parse(token)
        if parsed is None:
            raise ValueError("not a token of the form lw_<id>_<secret>")
        await _ENSURE(
            self._redis, keys.ROOT, name, role.value, parsed.id, parsed.sha256, int(renew)
        )

    async def find(self, token: str) -> Caller:
        """Who calls with this token; no rate is limited.

        Raises:
            Unauthorized: nobody does; the token is wrong, revoked or over.
        """
        return await self._gate.admit(Knock(token))

    async def renew(self, name: str) -> tuple[Role, str]:
        """A new token in place of all that the account had, e.g. when it was lost.

        Raises:
            NotFound: no such account.
        """
        added = await self.add_token(name, "renewed", replace=True)
        return added.role, added.text

    async def add_token(
        self,
        name: str,
        label: str,
        *,
        scopes: frozenset[Scope] | None = None,
        lasts: timedelta | None = None,
        replace: bool = False,
    ) -> MadeToken:
        """One more token for the account, with all its rights or with some.

        Raises:
            NotFound: no such account.
            Conflict: it has too many.
        """
        token = Token.new()
        answer = await _ADD_TOKEN(
            self._redis,
            keys.ROOT,
            name,
            token.id,
            token.sha256,
            label,
            _words(scopes),
            lasts.total_seconds() if lasts else "",
            int(replace),
        )
        if answer[0] == "no_account":
            raise _no_account(name)
        if answer[0] == "too_many":
            raise Conflict(
                f"the account {name!r} has {answer[1]} tokens, no more are kept; revoke some first"
            )
        return MadeToken(token.id, token.text, Role(answer[1]))

    async def drop_token(self, name: str, token_id: str) -> str:
        """From now on this token is not taken; its label.

        Raises:
            NotFound: the account has no such token.
        """
        answer = await _DROP_TOKEN(self._redis, keys.ROOT, name, token_id, new_call())
        if answer[0] == "unknown":
            raise NotFound(f"the account {name!r} has no token {token_id!r}")
        return str(answer[1])

    async def tokens(self, name: str) -> tuple[TokenRow, ...]:
        """The account's tokens, oldest first, without their secrets; not those that ended over
        thirty days ago.

        Raises:
            NotFound: no such account.
        """
        await self._get(name)
        await _FORGET_EXPIRED(self._redis, keys.ROOT, name)
        ids = sorted(await self._redis.smembers(keys.tokens(name)))
        async with self._redis.pipeline(transaction=False) as pipe:
            for token_id in ids:
                pipe.hgetall(keys.token(token_id))
            found = await pipe.execute()
        rows = [token_row(token_id, row) for token_id, row in zip(ids, found, strict=True) if row]
        return tuple(sorted(rows, key=lambda row: (row.created is not None, row.created, row.id)))

    async def token(self, token_id: str) -> TokenRow:
        """The token behind a request, which may have gone since it was let in.

        Raises:
            Unauthorized: it was revoked, or is over.
        """
        fields = await self._redis.hgetall(keys.token(token_id))
        if "account" not in fields:
            raise Unauthorized("this token was revoked; begin again with another one")
        row = token_row(token_id, fields)
        if row.expires is not None and row.expires <= datetime.now(UTC):
            raise Unauthorized("this token has expired; begin again with another one")
        return row

    async def parent(self, token_id: str) -> TokenRow:
        """The token behind a request that is to make another one for its account.

        Raises:
            Unauthorized: it was revoked, or is over.
            Forbidden: it may do a part of what its account may, as those of machines do: one that
                is found on a volunteer's machine must make no others.
        """
        row = await self.token(token_id)
        if row.scopes is not None:
            raise Forbidden(
                "this token may do only a part of what your account may, as those of machines do, "
                "so it makes no others and lets no machine in; use one that may do all of it"
            )
        return row

    async def revoke(self, name: str) -> None:
        """From now on none of the account's tokens is taken; safe to repeat.

        Raises:
            NotFound: no such account.
        """
        await self._get(name)
        await self._redis.hset(keys.account(name), "revoked", "1")

    async def delegate(
        self, bot: str, discord_id: str, scopes: frozenset[Scope] | None = None
    ) -> tuple[str, str]:
        """`(token, account)`: for `DELEGATION`, `bot` has the rights of that person that can be
        lent, or those of them that are among `scopes`.

        Raises:
            Forbidden: the person has no account, or none with rights to lend.
        """
        token = Token.new()
        answer = await _DELEGATE(
            self._redis,
            keys.ROOT,
            discord_id,
            bot,
            token.id,
            token.sha256,
            int(DELEGATION.total_seconds()),
            _words(scopes),
            *(role.value for role in _LENDERS),
        )
        match answer:
            case ["unlinked"]:
                raise Forbidden(
                    "your Discord account is not linked to an account of the tracker; "
                    "ask an admin to link it"
                )
            case ["revoked", name]:
                raise Forbidden(f"the account {name!r} was revoked; ask the project's admins why")
            case ["banned", name, why]:
                raise Forbidden(f"the account {name!r} was banned: {why}")
            case ["no_rights", name]:
                raise Forbidden(
                    f"the account {name!r} is not an admin's or a moderator's; "
                    "only admins may do this"
                )
        return token.text, str(answer[1])

    async def of_discord(self, discord_id: str) -> str | None:
        """The account that is linked to this Discord user."""
        name: str | None = await self._redis.get(keys.discord(discord_id))
        return name

    async def row(self, name: str) -> AccountRow:
        """One account.

        Raises:
            NotFound: no such account.
        """
        return account_row(name, await self._get(name))

    async def rows(self) -> tuple[AccountRow, ...]:
        """Every account, by name."""
        names = sorted(await self._redis.smembers(keys.NAMES))
        rows = []
        for start in range(0, len(names), _SLICE):
            part = names[start : start + _SLICE]
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in part:
                    pipe.hgetall(keys.account(name))
                found = await pipe.execute()
            rows += [account_row(name, fields) for name, fields in zip(part, found, strict=True)]
        return tuple(rows)

    async def count(self) -> int:
        """How many accounts there are."""
        return int(await self._redis.scard(keys.NAMES))

    async def _get(self, name: str) -> dict[str, str]:
        account: dict[str, str] = await self._redis.hgetall(keys.account(name))
        if not account:
            raise _no_account(name)
        return account


def _no_account(name: str) -> NotFound:
    return NotFound(f"there is no account {name!r}; `account list` shows all")


def _words(scopes: frozenset[Scope] | None) -> str:
    return "" if scopes is None else " ".join(sorted(scopes))
