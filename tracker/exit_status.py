"""How a command of `python -m tracker` ends: one table, for the code, `--help` and the docs."""

import os
from typing import Final

STOPPED: Final = 1  #: click's own
USAGE: Final = 2  #: click's own

#: The others are those of sysexits.h.
MEANINGS: Final = {
    0: "done",
    STOPPED: "somebody said no, pressed Ctrl-C, or does not read on",
    USAGE: "wrong usage: no such option, or a value that cannot be",
    os.EX_DATAERR: "what is named does not exist or is in another state; a file is broken; the "
    "books do not balance",
    os.EX_NOINPUT: "a file is missing, or cannot be read",
    os.EX_UNAVAILABLE: "tracker, Redis or store cannot be reached; the port is taken",
    os.EX_SOFTWARE: "a fault of the tracker's own",
    os.EX_OSERR: "the machine has too little memory for it",
    os.EX_CANTCREAT: "a file, or the data directory, cannot be written or is another's",
    os.EX_TEMPFAIL: "too many calls; try later",
    os.EX_PROTOCOL: "the URL is no tracker's",
    os.EX_NOPERM: "not permitted",
    os.EX_CONFIG: "a broken file in the data directory, or data of another Redis or version",
}
