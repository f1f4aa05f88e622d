"""`Audience`: who may follow the events at the same time."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from laion_protocol import RateLimited, Unavailable

#: Seconds. A reader that is gone holds its seat until the next ping finds nobody.
_RETRY: Final = 30.0
#: Strangers get no more than four of five seats.
_KEPT: Final = 5


class Audience:
    """A stream costs little and lasts for ever, so the seats are counted: in all, of each address
    and of each account. Some are kept for callers with a token, so that strangers, however many,
    do not silence the bot."""

    def __init__(self, *, most: int, each: int) -> None:
        """Seat `most`, and `each` of one address or account."""
        self._most, self._each = most, each
        self._taken: Counter[tuple[str, str]] = Counter()
        self._strangers = 0

    @contextmanager
    def seat(self, address: str, account: str | None) -> Iterator[None]:
        """Hold a seat for the account; None for a stranger, who is counted by `address`, a keyed
        hash, which is empty for this machine itself.

        Raises:
            RateLimited: this address, or account, has its seats already.
            Unavailable: there is none left.
        """
        who = ("address", address) if account is None else ("account", account)
        is_counted = account is not None or address != ""
        if is_counted and self._taken[who] >= self._each:
            raise RateLimited(
                f"{self._each} event streams of your {who[0]} are open, which is the most",
                retry_after=_RETRY,
            )
        if self._taken.total() >= self._most or (
            account is None and self._strangers >= self._most - self._most // _KEPT
        ):
            raise Unavailable(
                "too many follow the events already; try later, or with a token",
                retry_after=_RETRY,
            )
        self._taken[who] += 1
        self._strangers += account is None
        try:
            yield
        finally:
            self._strangers -= account is None
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]
