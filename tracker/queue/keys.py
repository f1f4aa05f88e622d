"""The keyspace.

`crawls` is a set: the names of all crawls. A name is put there before its crawl is visible, so
a reader skips a name without `meta`. It stays there when its crawl is removed.

`{actions}:ids` is a zset: the ids of the admins' bulk actions -> when, ms; `{actions}:ID` is a
hash, who did what and why, for a day.

Every other key belongs to one crawl and begins with `crawl:{NAME}:`. The braces are Redis
Cluster's hash tag: all keys of a crawl live on one node, so each script, which gets the key of
`meta` and derives the others from it, stays on that node.

    meta        hash   state (active | paused | draining | finished), files, parts, total, cursor,
                       base, seed, recipe (JSON), recipe_sha256, content (hash of what was added),
                       added_at, the retry policy, reaped_at (when the reaper last ran)
    removing    hash   the former meta of a crawl whose other keys are being deleted
    paths       hash   block number -> 1,000 paths, zlib, base64
    staged:ID   hash   the same, of an `add` under way; renamed to `paths` by its script, and gone
                       after an hour if that never comes
    job:J       hash   from a job's first lease until it is accepted; after that, if it took more
                       than one attempt, for seven more days, so that late comers get their answer.
                       state; attempt (leases so far); holder (the attempt that holds the job, or
                       whose shard is verified); since (attempts up to here are forgiven);
                       shun (account that should not get it next); progress (JSON);
                       manifest (JSON); claim (id of the last claim of it by a verifier);
                       a:N (JSON) for each of the last 40 attempts: lease, account, worker,
                       leased_at, stage (fetch | score; absent: hybrid), and once it ended:
                       outcome, ended_at, class, message, charged; late, when its shard came after
                       its deadline; r:N (JSON) for attempts whose shard lost to another
                       one: pairs_sha256, pairs, kept, at.
                       stage: absent, or `score` from an accepted intermediate until the job is
                       accepted, or brought back from the dead; as long as it is there, so is
                       fetched (JSON): lease, account, worker and attempt of the intermediate,
                       and its manifest (JSON, as a string)
    retry       zset   J -> not before, ms: pending jobs that were leased before, without stage
    score       zset   J -> not before, ms: pending jobs of stage score
    leases      zset   J -> deadline, ms: leased jobs
    beats       zset   J -> last heartbeat, ms: leased jobs
    held:A/W    set    J: the jobs leased to worker W of account A
    held:A      set    J: the jobs leased to any worker of account A
    failures:A/W  list  "leased_at ended_at outcome worker" (ms) of the last 20 endings that this
                       worker is to blame for since a result of it was accepted; gone a day after
                       the last
    failures:A  list   the same of the last 100, since a result of any of the account's workers
    verifying   zset   J -> may be claimed from, ms: jobs whose shard, or intermediate, is to be
                       checked
    dead        zset   J -> since when, ms
    finished    hash   J -> "lease account worker attempt late kept pairs bytes accepted_at", and
                       after an attempt of stage score the account that fetched: the accepted jobs
    action:ID   hash   J -> how the job was before an admin's action changed it (JSON), for a day
    undone:ID   set    J: those of them that `undo` has put back, for a day
    call:ID     string what a call was answered, JSON, in case that its client sends it again; for a
                       minute
    counts      hash   attempts, fetched (intermediates accepted), pairs, kept, bytes, drop:REASON
    credits     hash   jobs:ACCOUNT, kept:ACCOUNT, fetched:ACCOUNT
    rate:H      hash   minute -> shards accepted in it; H and minute count from 1970; a day's worth
    events      stream the events of this crawl: field `event`, JSON without crawl and time

A pending job that was never leased costs nothing: it is one of those that the permutation yields
from `cursor` on. So pending = (total - cursor) + |retry| + |score|, and the number of jobs in every
other state is the size of its structure; no counter can disagree with it.
"""

from typing import Final

CRAWLS: Final = "crawls"
ACTIONS: Final = "{actions}:ids"


def meta(crawl: str) -> str:
    """What a crawl is; also the one key that each script is given."""
    return f"crawl:{{{crawl}}}:meta"


def paths(crawl: str) -> str:
    """The path list, in blocks."""
    return f"crawl:{{{crawl}}}:paths"


def staged(crawl: str, token: str) -> str:
    """The path list of one `add` under way."""
    return f"crawl:{{{crawl}}}:staged:{token}"


def finished(crawl: str) -> str:
    """The accepted jobs."""
    return f"crawl:{{{crawl}}}:finished"


def credits(crawl: str) -> str:
    """Credit by account."""
    return f"crawl:{{{crawl}}}:credits"


def failures(crawl: str, account: str, worker: str | None = None) -> str:
    """What speaks against a worker, or with None against the workers of an account."""
    return f"crawl:{{{crawl}}}:failures:{account}" + (f"/{worker}" if worker else "")


def events(crawl: str) -> str:
    """The crawl's event stream."""
    return f"crawl:{{{crawl}}}:events"


def action(action: str) -> str:
    """Who did what; a bulk action, for a day."""
    return f"{{actions}}:{action}"


def action_notes(crawl: str, action: str) -> str:
    """How that action found the jobs of this crawl."""
    return f"crawl:{{{crawl}}}:action:{action}"


def undone(crawl: str, action: str) -> str:
    """Those that were put back."""
    return f"crawl:{{{crawl}}}:undone:{action}"
