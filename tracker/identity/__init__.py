"""Who calls, what they may do, how often, and which machines are theirs."""

from .accounts import DELEGATION, Accounts
from .address import AddressHasher, address_key, take_address_key
from .caller import ACTIVE, Caller, Standing
from .device_login import DeviceLogins
from .gate import Gate, Knock
from .rates import UNLIMITED, Rate, Rates
from .token import new_token
from .workers import Workers

__all__ = [
    "ACTIVE",
    "DELEGATION",
    "UNLIMITED",
    "Accounts",
    "AddressHasher",
    "Caller",
    "DeviceLogins",
    "Gate",
    "Knock",
    "Rate",
    "Rates",
    "Standing",
    "Workers",
    "address_key",
    "new_token",
    "take_address_key",
]
