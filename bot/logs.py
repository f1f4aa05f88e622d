"""Logs for the operator, on standard error, in which no token can appear."""

import logging
import re
import sys

#: a tracker token, wherever it comes from (delegated ones too), and an interaction's token
_PATTERNS = (
    re.compile(r"lw_[0-9A-Za-z]+_[0-9A-Za-z]+"),
    re.compile(r"(?<=/webhooks/)(\d+/)[\w.=-]+"),
    re.compile(r"(?<=/interactions/)(\d+/)[\w.=-]+"),
)
_HIDDEN = "[hidden]"


class Redacting(logging.Formatter):
    """Formats as usual, then hides tokens, in tracebacks too."""

    def __init__(self, *secrets: str) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """The line, without any secret."""
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        for pattern in _PATTERNS:
            text = pattern.sub(lambda found: "".join(found.groups()) + _HIDDEN, text)
        return text


def set_up(*secrets: str) -> None:
    """Log to standard error from INFO on, hiding these secrets."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting(*secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
