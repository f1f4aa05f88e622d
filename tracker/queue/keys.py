"""The keyspace.

`crawls` is a set: the names of all crawls. A name is put there before its crawl is visible, so
a reader skips a name without `meta`.

Every other key belongs to one crawl and begins with `crawl:{NAME}:`. The braces are Redis
Cluster's hash tag: all keys of a crawl live on one node, so each script, which gets the key of
`meta` and derives the others from it, stays on that node.

    meta        hash   state (active | paused), files, parts, total, cursor, base, seed, recipe
                       (JSON), recipe_sha256, content (hash of what was added), added_at, the
                       retry policy, reaped_at (when the reaper last ran)
    paths       hash   block number -> 1,000 paths, zlib, base64
    staged:ID   hash   the same, of an `add` under way; renamed to `paths` by its script, and gone
                       after an hour if that never comes
    job:J       hash   from a job's first lease until it is accepted; after that, if it took more
                       than one attempt, for seven more days, so that late comers get their answer.
                       state; attempt (leases so far); holder (the attempt that holds the job, or
                       whose shard is verified); since (attempts up to here are forgiven);
                       shun (account that should not get it next); progress (JSON);
                       manifest (JSON); a:N (JSON) for each of the last 40 attempts: lease,
                       account, worker, leased_at, and once it ended: outcome, ended_at, class,
                       message, charged; late, when its shard came after its deadline
    retry       zset   J -> not before, ms: pending jobs that were leased before
    leases      zset   J -> deadline, ms: leased jobs
    beats       zset   J -> last heartbeat, ms: leased jobs
    held:A/W    set    J: the jobs leased to worker W of account A
    verifying   zset   J -> may be claimed from, ms: jobs whose shard is to be checked
    dead        zset   J -> since when, ms
    finished    hash   J -> "lease account worker attempt late kept pairs bytes accepted_at": the
                       accepted jobs
    counts      hash   attempts, pairs, kept, bytes, drop:REASON
    credits     hash   jobs:ACCOUNT, kept:ACCOUNT
    rate:H      hash   minute -> shards accepted in it; H and minute count from 1970; a day's worth
    events      stream the events of this crawl: field `event`, JSON without crawl and time

A pending job that was never leased costs nothing: it is one of those that the permutation yields
from `cursor` on. So pending = (total - cursor) + |retry|, and the number of jobs in every other
state is the size of its structure; no counter can disagree with it.
"""

from typing import Final

CRAWLS: Final = "crawls"


def meta(crawl: str) -> str:
    """What a crawl is; also the one key that each script is given."""
    return f"crawl:{{{crawl}}}:meta"


def paths(crawl: str) -> str:
    """The path list, in blocks."""
    return f"crawl:{{{crawl}}}:paths"


def staged(crawl: str, token: str) -> str:
    """The path list of one `add` under way."""
    return f"crawl:{{{crawl}}}:staged:{token}"


def credits(crawl: str) -> str:
    """Credit by account."""
    return f"crawl:{{{crawl}}}:credits"


def events(crawl: str) -> str:
    """The crawl's event stream."""
    return f"crawl:{{{crawl}}}:events"
