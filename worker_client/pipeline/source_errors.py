"""Why a chunk cannot be read.

SourceError
├── SourceMissing       the server or disk has no such file       fail the job: class `job`
├── SourceRefused       nobody may be sent to that place       fail the job: class `job`
├── SourceUnreadable    the file is there, and is no archive      fail the job: class `job`
├── SourceUnavailable   the network or server did not answer      fail the job: class `network`
└── SourceStopped       the caller set `stop`                     release the job

Each message is one sentence for the volunteer.
"""


class SourceError(Exception):
    """Base of everything that `open_chunk` and reading a chunk may raise."""


class SourceMissing(SourceError):
    """There is no such file, or this server will not give it to anybody."""


class SourceRefused(SourceError):
    """The tracker names a place of this machine or its network that the volunteer did not open."""


class SourceUnreadable(SourceError):
    """The file holds no web archive, or cannot be split as asked."""


class SourceUnavailable(SourceError):
    """The file could not be fetched within the patience given; another try may succeed."""


class SourceStopped(SourceError):
    """Reading ended because the caller asked; what was read is not the whole chunk."""
