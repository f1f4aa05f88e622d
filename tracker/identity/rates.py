"""`Rates`: how often one token, and one address, may call."""

from dataclasses import astuple, dataclass, fields
from typing import Final, Self


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second` calls for as long as one likes, and up to `burst` at once; 0 sets no limit."""

    per_second: float
    burst: int

    @property
    def period(self) -> float:
        """Milliseconds until one more call fits in."""
        return 1000 / self.per_second if self.per_second else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Generous for a fleet behind one address, and an end to a loop that forgot to wait.

    What belongs to a lease that is held (heartbeats, uploads, completions) has buckets of its own:
    a storm of lease requests must not cost anybody their work.
    """

    call: Rate = Rate(10, 100)  #: a token's calls that are none of the next two
    lease: Rate = Rate(10, 200)  #: a token's requests for work
    beat: Rate = Rate(50, 2000)  #: a token's calls about leases that it holds
    address: Rate = Rate(100, 2000)  #: all tokens of one address, but for what is held
    address_beat: Rate = Rate(500, 20_000)
    anonymous: Rate = Rate(10, 100)  #: an address's calls without a token that is taken

    def times(self, factor: float) -> Self:
        """All of them so many times as generous; 0 sets no limits."""
        return type(self)(
            **{
                field.name: Rate(rate.per_second * factor, max(1, round(rate.burst * factor)))
                for field in fields(self)
                for rate in [getattr(self, field.name)]
            }
        )

    def args(self) -> tuple[float, ...]:
        """As `gate.lua` takes them."""
        rates = (Rate(*rate) for rate in astuple(self))
        return tuple(value for rate in rates for value in (rate.period, rate.burst))


DEFAULT: Final = Rates()
UNLIMITED: Final = DEFAULT.times(0)
