"""`StateDirectory`: what a worker must not forget when it is killed.

lock                        held by the one worker that runs here
models/<sha256>.<kind>      model files, by their hash
announced-<tracker>         the number of the last announcement that was shown
jobs/<tracker>/<lease id>/  one directory a job: lease.json, what it reads at stage score, and its
                            shard when it is finished
"""

import hashlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from laion_protocol import Manifest
from laion_protocol.messages import Lease

from .disk import write_whole, writing_to
from .errors import AlreadyRunning
from .pipeline.shard import MANIFEST_FILE

_LEASE_FILE = "lease.json"


@dataclass(slots=True, frozen=True)
class Job:
    """One leased job's place on the disk."""

    lease: Lease
    directory: Path

    @property
    def shard(self) -> Path:
        """Where its files go."""
        return self.directory / "shard"

    @property
    def inputs(self) -> Path:
        """Where the files go that it reads, at stage score."""
        return self.directory / "inputs"

    def manifest(self) -> Manifest | None:
        """Of the finished shard; None as long as it is not finished."""
        try:
            return Manifest.model_validate_json((self.shard / MANIFEST_FILE).read_bytes())
        except (OSError, ValidationError):
            return None

    def remove(self) -> None:
        """Forget this job."""
        shutil.rmtree(self.directory, ignore_errors=True)


class StateDirectory:
    """One worker's directory; use `locked` around all work in it."""

    def __init__(self, root: Path, tracker: str) -> None:
        self.models = root / "models"
        self._root = root
        # a lease means something to the tracker that gave it, and to no other
        name = hashlib.sha256(tracker.encode()).hexdigest()[:16]
        self._jobs = root / "jobs" / name
        self.announced = root / f"announced-{name}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory against a second worker; the lock ends with the process.

        Raises:
            AlreadyRunning: another worker holds it.
            OutputRefused, DiskFull: it cannot be made.
        """
        with writing_to(self._root):
            self.models.mkdir(parents=True, exist_ok=True)
            self._jobs.mkdir(parents=True, exist_ok=True)
            file = (self._root / "lock").open("a+b")
        with file:
            if not _lock(file):
                raise AlreadyRunning(
                    f"another worker runs on {self._root}; stop it, or give this one "
                    "a --state-dir of its own"
                )
            yield

    def open_job(self, lease: Lease) -> Job:
        """A place for a job, remembered from here on; an earlier try at it is thrown away.

        Raises:
            OutputRefused, DiskFull: it cannot be made.
        """
        job = Job(lease, self._jobs / lease.lease_id)
        with writing_to(job.directory):
            job.remove()
            job.directory.mkdir()
            write_whole(job.directory / _LEASE_FILE, lease.model_dump_json().encode())
        return job

    def finished_jobs(self) -> list[Job]:
        """Jobs whose shard waits to be delivered; what is neither that nor readable is removed."""
        finished = []
        for directory in sorted(self._jobs.iterdir()):
            try:
                raw = (directory / _LEASE_FILE).read_bytes()
                job = Job(Lease.model_validate_json(raw), directory)
            except (OSError, ValidationError):
                shutil.rmtree(directory, ignore_errors=True)
                continue
            if job.manifest() is None:
                job.remove()  # its lease, if it is still ours, is told by the tracker
            else:
                finished.append(job)
        return finished


def _lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
