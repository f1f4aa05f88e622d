"""`Token`: `lw_<id>_<secret>`.

The secret has 256 random bits, so one SHA-256 is enough at rest (nothing can be guessed); the id
only finds the row.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(r"lw_([0-9a-f]{12})_([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Token:
    """Leaves the tracker once, when it is made."""

    id: str
    secret: str

    @staticmethod
    def new() -> "Token":
        """A token that nobody has yet."""
        return Token(secrets.token_hex(6), secrets.token_hex(32))

    @staticmethod
    def parse(text: str) -> "Token | None":
        """The token that `text` is, if it is one."""
        match = _TOKEN.fullmatch(text)
        return Token(*match.groups()) if match else None

    @property
    def text(self) -> str:
        """What its owner keeps."""
        return f"lw_{self.id}_{self.secret}"

    @property
    def sha256(self) -> str:
        """What the tracker keeps."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"<token {self.id}>"  # a secret must not reach a log by way of a traceback


def new_token() -> str:
    """A token that no account has yet."""
    return Token.new().text
