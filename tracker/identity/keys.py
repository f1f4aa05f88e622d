"""The keyspace of who calls. All of it is in one hash slot, so that one script may read it all.

    {accounts}:names              set    every account's name
    {accounts}:account:NAME       hash   role, created (Unix s), discord_id?, revoked?; and, while
                                         an admin has set one, state, reason, by, since, until (ms)
    {accounts}:discord:ID         string the account linked to that Discord user
    {accounts}:token:ID           hash   sha256 of the secret, account; act? (the bot that acts for
                                         it), scopes? (fewer than the account's), label, created,
                                         expires? and used (ms); full:KIND, a rate bucket each
    {accounts}:tokens:NAME        set    the ids of the account's own tokens
    {accounts}:worker:NAME/W      hash   first, last (ms), version, stages; state … as an account's
    {accounts}:workers:NAME       zset   W -> last seen, ms: the account's workers
    {accounts}:seen               zset   NAME/W -> last seen, ms: of the last five minutes
    {accounts}:rate:KIND:ADDRESS  string the rate bucket of an address, which is a keyed hash
    {accounts}:tries:WHO          string wrong device codes of the last quarter of an hour
    {accounts}:device:HASH        hash   a login under way, by the hash of its device code: user
                                         (hash of the user code), worker, client, created, asked,
                                         interval, state, address; account, token and expires?
                                         (of the token by which a person approved it, ms)
    {accounts}:user_code:HASH     string the hash of the device code that belongs to it
    {accounts}:ticket:HASH        hash   one look at a login on the web page: device, worker,
                                         account, new (role), by, token (the id of theirs)
    {accounts}:devices            zset   HASH -> when it expires, ms: what bounds their number
    {accounts}:devices_of:ADDRESS zset   the same, of one address
    {accounts}:call:ID            string what a call was answered, JSON, in case that its client
                                         sends it again; for a minute

A rate bucket is one number: the time, in ms, at which it would be full again.
"""

from typing import Final

#: also the one key that each script is given
ROOT: Final = "{accounts}"
NAMES: Final = f"{ROOT}:names"
SEEN: Final = f"{ROOT}:seen"


def account(name: str) -> str:
    """What an account is."""
    return f"{ROOT}:account:{name}"


def discord(discord_id: str) -> str:
    """Whose Discord user that is."""
    return f"{ROOT}:discord:{discord_id}"


def token(token_id: str) -> str:
    """What a token is good for."""
    return f"{ROOT}:token:{token_id}"


def tokens(name: str) -> str:
    """The account's own tokens."""
    return f"{ROOT}:tokens:{name}"


def worker(name: str, worker: str) -> str:
    """What is known of one worker."""
    return f"{ROOT}:worker:{name}/{worker}"


def workers(name: str) -> str:
    """The account's workers."""
    return f"{ROOT}:workers:{name}"
