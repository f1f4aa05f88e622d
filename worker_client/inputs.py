"""`fetch_inputs`: the files of an intermediate, for the score stage on this machine."""

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from laion_protocol import Unavailable
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import InputFile, Lease

from .disk import put_in_place, writing_to
from .foreign_store import ForeignStore
from .patience import patiently
from .progress import Report

#: A line may garble a file once or twice; a store that does it every time is broken.
_MOST_MISMATCHES: Final = 5


class InputBroken(Exception):
    """What the tracker gives is, again and again, not the file that its manifest tells of."""


async def fetch_inputs(
    client: TrackerClient,
    worker: str,
    lease: Lease,
    directory: Path,
    store: ForeignStore,
    report: Report,
) -> None:
    """Put every file of the intermediate into `directory`, its size and SHA-256 checked.

    They come from the tracker, or from the store that it names. Either is waited for when it is
    away; a URL that is too old is replaced by a new one.

    Raises:
        NotATracker: the lease names other files than its manifest.
        InputBroken: a file does not have its hash, however often it is fetched.
        StoreRefused: the tracker names a store that this machine does not open.
        LeaseLost: the lease is over.
        NotFound: the tracker, or its store, has lost a file.
        DiskFull, OutputRefused: there is no room for them.
    """
    _check(lease)
    with writing_to(directory):
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    files = {file.name: file for file in lease.inputs}
    for name in list(files):
        mismatches = 0
        fetch = _Fetch(client, worker, lease.lease_id, files, name, directory, store)
        while not await patiently(fetch.once, report):
            mismatches += 1
            if mismatches >= _MOST_MISMATCHES:
                raise InputBroken(
                    f"{name} of the intermediate comes with another SHA-256 than its manifest "
                    "tells of"
                )


def _check(lease: Lease) -> None:
    """A tracker fills this disk with what its own manifest bounds, and nothing else."""
    wanted = {} if lease.fetched is None else {file.name: file for file in lease.fetched.files}
    given = {file.name: file for file in lease.inputs}
    same = given.keys() == wanted.keys() and all(
        (file.size, file.sha256) == (wanted[name].size, wanted[name].sha256)
        for name, file in given.items()
    )
    if not same or len(given) != len(lease.inputs):
        raise NotATracker("the tracker gives other files to score than were fetched")


class _Fetch:
    """One file; `files` is renewed for all when a URL has got too old."""

    def __init__(
        self,
        client: TrackerClient,
        worker: str,
        lease_id: str,
        files: dict[str, InputFile],
        name: str,
        directory: Path,
        store: ForeignStore,
    ) -> None:
        self._client = client
        self._worker = worker
        self._lease_id = lease_id
        self._files = files
        self._name = name
        self._path = directory / name
        self._store = store

    async def once(self) -> bool:
        """Whether what came is the file."""
        file = self._files[self._name]
        draft = self._path.with_name(f".{self._name}.draft")
        try:
            with writing_to(self._path.parent), draft.open("wb") as to:
                await self._read(file, to)
                to.close()
                if not await asyncio.to_thread(_is, draft, file):
                    return False
                put_in_place(draft, self._path)
            return True
        finally:
            draft.unlink(missing_ok=True)

    async def _read(self, file: InputFile, to: BinaryIO) -> None:
        if file.url.startswith("/"):
            await self._client.fetch_input(file, to)
            return
        try:
            await self._store.get(file.url, to, most=file.size)
        except Unavailable:
            await self._renew()
            raise

    async def _renew(self) -> None:
        with suppress(Unavailable, NotATracker):
            for lease in (await self._client.held_leases(self._worker)).leases:
                if lease.lease_id == self._lease_id:
                    new = {file.name: file for file in lease.inputs}
                    self._files.update(
                        {
                            name: file.model_copy(update={"url": new[name].url})
                            for name, file in self._files.items()
                            if name in new
                        }
                    )


def _is(path: Path, file: InputFile) -> bool:
    with path.open("rb") as stream:
        return (
            path.stat().st_size == file.size
            and hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
        )
