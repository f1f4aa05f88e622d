"""`TransferLoop`: the one thread in which libcurl's multi interface runs all downloads of a run."""

import queue
import selectors
import socket
import threading
from collections import deque
from time import monotonic
from types import TracebackType
from typing import Final, Self

import pycurl

from laion_protocol import DropReason

from ..samples import Dropped, Fetched, Pair
from .answer import Answer
from .breaker import Breaker
from .budget import Budget
from .download_settings import DownloadSettings
from .hosts import HostQueues
from .optout import product_token
from .retries import Retries
from .target import Target, TargetInvalid
from .transfer import Handle, Transfer, target_refused

#: Seconds after which the thread looks at the stop event, if nothing else wakes it.
_STOP_POLL: Final = 0.2

#: A failure of these kinds says something about the host, not about one picture.
_HOST_FAILURES: Final = frozenset(
    {DropReason.DNS, DropReason.CONNECT, DropReason.TLS, DropReason.TIMEOUT}
)
_BUSY_STATUSES: Final = frozenset({429, 503})


class TransferLoop:
    """Downloads pairs in its own thread: a `Crew` for `run_ahead`, entered for one run."""

    def __init__(
        self,
        settings: DownloadSettings,
        *,
        share: pycurl.CurlShare,
        ca_file: str | None,
        breaker: Breaker,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._share = share
        self._ca_file = ca_file
        self._breaker = breaker
        self._stop = stop
        self._closing = threading.Event()
        self._bot = product_token(settings.user_agent)
        self._budget = Budget(settings.max_buffered)
        self._given: deque[Pair] = deque()
        self._results: queue.SimpleQueue[Fetched | Dropped | Exception | None] = queue.SimpleQueue()
        self._held = 0  # given and not yet taken; the consumer's thread alone counts it
        self._queues: HostQueues[Transfer] = HostQueues(settings.per_host, settings.per_host_delay)
        self._retries = Retries(settings.retry_delay)
        self._running: dict[pycurl.Curl, Handle] = {}
        self._idle: list[Handle] = []
        self._curl_due: float | None = None
        self._thread = threading.Thread(target=self._run, name="download", daemon=True)

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._wake()
        self._thread.join()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    # ---- the consumer's side ----

    def has_room(self) -> bool:
        """Whether another pair may be given; none once the run is stopped."""
        bound = self._settings.in_flight + self._settings.waiting
        return self._held < bound and not self._stop.is_set()

    def give(self, pair: Pair) -> None:
        """Queue a pair for download."""
        self._held += 1
        self._given.append(pair)
        self._wake()

    def is_ready(self) -> bool:
        """Whether a result waits."""
        return not self._results.empty()

    def take(self) -> Fetched | Dropped | None:
        """The next result; None once the run is stopped.

        Raises:
            Exception: whatever ended the thread; a fault of ours.
        """
        if self._stop.is_set():
            return None
        result = self._results.get()
        if isinstance(result, Exception):
            raise result
        if isinstance(result, Fetched):
            was_full = self._budget.is_full
            self._budget.add(-len(result.body))
            if was_full:
                self._wake()
        self._held -= 1
        return result

    # ---- the thread's side ----

    def _wake(self) -> None:
        try:
            self._wake_in.send(b"\0")
        except BlockingIOError:
            return  # the thread has plenty of wake-ups waiting already

    def _run(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, self._settings.in_flight)
        try:
            while not self._stop.is_set() and not self._closing.is_set():
                self._turn()
        except Exception as error:  # noqa: BLE001 (carried to the consumer, who raises it)
            self._results.put(error)
        finally:
            for handle in self._running.values():
                self._multi.remove_handle(handle.curl)
            for handle in (*self._running.values(), *self._idle):
                handle.curl.close()
            self._multi.close()
            self._results.put(None)

    def _turn(self) -> None:
        """One round: begin what may begin, sleep until something happens, take in what ended."""
        while self._given:
            self._begin(self._given.popleft())
        now = monotonic()
        for transfer in self._retries.due(now):
            self._queues.add(transfer.target.host, transfer, first=True)
        self._start(now)
        for key, events in self._selector.select(self._sleep(now)):
            if key.fileobj is self._wake_out:
                self._drain_wakes()
                continue
            mask = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
            mask |= pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0
            self._multi.socket_action(key.fd, mask)
        if self._curl_due is not None and self._curl_due <= monotonic():
            self._curl_due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()
        self._resume()

    def _sleep(self, now: float) -> float:
        times = [now + _STOP_POLL]
        if self._curl_due is not None:
            times.append(self._curl_due)
        if (next_retry := self._retries.next_due()) is not None:
            times.append(next_retry)
        next_start = self._queues.next_start()
        if next_start is not None and len(self._running) < self._settings.in_flight:
            times.append(next_start)
        return max(0.0, min(times) - now)

    def _drain_wakes(self) -> None:
        try:
            while self._wake_out.recv(4096):
                pass
        except BlockingIOError:
            return

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """Libcurl says which socket to watch for what."""
        known = fd in self._selector.get_map()
        if what == pycurl.POLL_REMOVE:
            if known:
                self._selector.unregister(fd)
            return
        events = selectors.EVENT_READ if what in (pycurl.POLL_IN, pycurl.POLL_INOUT) else 0
        events |= selectors.EVENT_WRITE if what in (pycurl.POLL_OUT, pycurl.POLL_INOUT) else 0
        if known:
            self._selector.modify(fd, events)
        else:
            self._selector.register(fd, events)

    def _on_timer(self, milliseconds: int) -> None:
        """Libcurl says when it wants to be called at the latest; below zero, not at all."""
        self._curl_due = None if milliseconds < 0 else monotonic() + milliseconds / 1000

    def _begin(self, pair: Pair) -> None:
        try:
            target = Target.parse(pair.url)
        except TargetInvalid:
            self._drop(pair, DropReason.URL_INVALID)
            return
        self._enqueue(Transfer(pair, target, Answer(self._settings, self._bot)))

    def _enqueue(self, transfer: Transfer, *, first: bool = False) -> None:
        if target_refused(transfer.target, self._settings):
            self._drop(transfer.pair, DropReason.ADDRESS_REFUSED)
        else:
            self._queues.add(transfer.target.host, transfer, first=first)

    def _start(self, now: float) -> None:
        while len(self._running) < self._settings.in_flight and not self._budget.is_full:
            transfer = self._queues.start(now)
            if transfer is None:
                return
            if transfer.deadline is None:
                transfer.deadline = now + self._settings.timeout
            remaining = transfer.deadline - now
            reason = self._breaker.verdict(transfer.target.host, now)
            if reason is None and remaining <= 0:
                reason = DropReason.TIMEOUT
            if reason is not None:
                self._queues.done(transfer.target.host, started=False)
                self._drop(transfer.pair, reason)
                continue
            handle = self._idle.pop() if self._idle else self._new_handle()
            handle.prepare(transfer, remaining)
            self._running[handle.curl] = handle
            self._multi.add_handle(handle.curl)

    def _new_handle(self) -> Handle:
        return Handle(self._settings, self._share, self._ca_file, self._budget)

    def _resume(self) -> None:
        """Let paused bodies go on: all once there is room, the largest when all wait for room."""
        paused = [handle for handle in self._running.values() if handle.paused]
        if not paused:
            return
        if not self._budget.is_overfull:
            for handle in paused:
                self._resume_one(handle)
        elif self._results.empty() and not any(h.favoured for h in self._running.values()):
            largest = max(paused, key=lambda handle: handle.size)
            largest.favoured = True
            self._resume_one(largest)

    def _resume_one(self, handle: Handle) -> None:
        code = handle.resume()
        if code is not None:
            self._ended(handle, code)

    def _collect(self) -> None:
        """Take in the requests that have ended."""
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            for curl in good:
                self._ended(self._running[curl], None)
            for curl, code, _message in bad:
                self._ended(self._running[curl], code)

    def _ended(self, handle: Handle, code: int | None) -> None:
        transfer = handle.transfer
        assert transfer is not None
        answer = transfer.answer
        # An answer that was cut short because its headers said enough is no error.
        reason = answer.dropped
        if code is not None and not (code == pycurl.E_WRITE_ERROR and answer.location is not None):
            reason = handle.reason(code)
        self._multi.remove_handle(handle.curl)
        handle.transfer = None
        del self._running[handle.curl]
        self._idle.append(handle)
        host = transfer.target.host
        self._queues.done(host)
        self._judge_host(host, answer, reason)
        if reason is None and answer.location is not None:
            self._redirect(transfer)
        elif reason is None and answer.size < self._settings.min_bytes:
            self._budget.add(-answer.size)
            self._drop(transfer.pair, DropReason.TOO_FEW_BYTES)
        elif reason is None:
            self._results.put(Fetched(transfer.pair, answer.body))
        else:
            self._budget.add(-answer.size)
            if not self._retry(transfer, reason):
                self._drop(transfer.pair, reason)

    def _judge_host(self, host: str, answer: Answer, reason: DropReason | None) -> None:
        if reason in _HOST_FAILURES:
            assert reason is not None
            self._breaker.failed(host, reason, monotonic())
        elif answer.status in _BUSY_STATUSES:
            self._breaker.failed(host, DropReason.HTTP_STATUS, monotonic())
        elif answer.status:
            self._breaker.answered(host)

    def _redirect(self, transfer: Transfer) -> None:
        location = transfer.answer.location
        assert location is not None
        transfer.hops += 1
        if transfer.hops > self._settings.max_redirects:
            self._drop(transfer.pair, DropReason.TOO_MANY_REDIRECTS)
            return
        try:
            transfer.target = transfer.target.redirected(location)
        except TargetInvalid:
            self._drop(transfer.pair, DropReason.URL_INVALID)
            return
        transfer.answer = Answer(self._settings, self._bot)
        self._enqueue(transfer, first=True)

    def _retry(self, transfer: Transfer, reason: DropReason) -> bool:
        now = monotonic()
        if self._breaker.verdict(transfer.target.host, now) is not None:
            return False
        if not self._retries.take(transfer, reason, now):
            return False
        transfer.answer = Answer(self._settings, self._bot)
        return True

    def _drop(self, pair: Pair, reason: DropReason) -> None:
        self._results.put(Dropped(pair, reason))
