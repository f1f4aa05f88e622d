"""`Budget`: how many bytes of bodies a run holds, from the first piece to the hand-over."""

import threading


class Budget:
    """A count of bytes that the download thread and its consumer share."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Bytes came in, or (negative) were handed on or thrown away."""
        with self._lock:
            self._held += count

    @property
    def is_full(self) -> bool:
        """No new body may be begun."""
        return self._held >= self._limit

    @property
    def is_overfull(self) -> bool:
        """No body may grow but one; only bodies far beyond the web's usual size get here."""
        return self._held >= 2 * self._limit
