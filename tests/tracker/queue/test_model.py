"""All verbs in any order: the queue does what a plain-Python model says that it must."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from laion_protocol import (
    Counts,
    FailureClass,
    FileEntry,
    IdleReason,
    JobState,
    LeaseLost,
    Manifest,
    NotFound,
    Outcome,
    Recipe,
    SourceDigest,
    SourceKind,
)
from laion_protocol.messages import JobCounts, NewCrawl, Progress
from tracker.queue import Credit, HeldLease, JobQueue, JobRef, RetryPolicy
from tracker.queue.permutation import Permutation

CRAWL = "CC-MODEL"
SEED = 5
RETRY = RetryPolicy(
    max_attempts=3, min_accounts=2, max_leases=5, delay=timedelta(0), max_delay=timedelta(0)
)
MAX_HELD = 2
WORKERS = [(account, worker) for account in ("ada", "bob", "cyd") for worker in ("w1", "w2")]


def manifest_of(kept):
    return Manifest(
        recipe_sha256="0" * 64,
        worker_version="1",
        filter_version="1",
        model_sha256="1" * 64,
        source=SourceDigest(
            path="a", part=0, parts=1, first_byte=0, end_byte=1, pairs_sha256="2" * 64
        ),
        counts=Counts(pairs=kept, kept=kept),
        files=(FileEntry(name="shard.parquet", size=1, sha256="3" * 64),),
        seconds=1,
    )


@dataclass(eq=False)
class Try:
    """One attempt, as the model knows it."""

    job: "Job"
    number: int
    account: str
    worker: str
    lease_id: str
    brief: bool  # its lease time is over
    outcome: Outcome | None = None
    charged: bool = False
    late: bool = False
    kept: int = 0


@dataclass(eq=False)
class Job:
    """One job, as the model knows it."""

    index: int
    state: JobState = JobState.PENDING
    tries: list[Try] = field(default_factory=list)
    holder: Try | None = None
    since: int = 0
    shun: str | None = None

    def end(self, attempt, outcome, blame=None):
        attempt.outcome = outcome
        attempt.charged = outcome not in (Outcome.RELEASED, Outcome.SUPERSEDED) and blame not in (
            FailureClass.NETWORK,
            FailureClass.SERVER,
        )
        self.shun = None if blame is FailureClass.SERVER else attempt.account
        self.holder = None
        counted = [attempt.account for attempt in self.tries[self.since :] if attempt.charged]
        holders = [attempt.account for attempt in self.tries[self.since :]]
        spent = (
            len(counted) >= RETRY.max_attempts and len(set(counted)) >= RETRY.min_accounts
        ) or (len(holders) >= RETRY.max_leases and len(set(holders)) >= RETRY.min_accounts)
        dead = spent and outcome is not Outcome.SUPERSEDED
        self.state = JobState.DEAD if dead else JobState.PENDING

    def reopen(self, attempt):
        attempt.outcome, attempt.charged = None, False
        self.holder, self.shun = attempt, None

    def may_come_late(self, attempt):
        return attempt.outcome in (Outcome.EXPIRED, Outcome.SUPERSEDED) and self.state in (
            JobState.PENDING,
            JobState.DEAD,
        )


class QueueMachine(RuleBasedStateMachine):
    """Hypothesis calls the rules; each asks the queue and the model, and compares."""

    leases = Bundle("leases")
    redis_url: str

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = self.run(self.connect())
        options = {"max_held": MAX_HELD, "retry": RETRY}
        self.queue = JobQueue(self.redis, lease_duration=timedelta(hours=1), **options)
        self.hasty = JobQueue(self.redis, lease_duration=timedelta(milliseconds=1), **options)
        self.jobs = []
        self.cursor = 0
        self.attempts = 0

    async def connect(self):
        redis = Redis.from_url(self.redis_url, decode_responses=True)
        await redis.flushall()
        return redis

    def run(self, call):
        return self.runner.run(call)

    def teardown(self):
        self.run(self.redis.aclose())
        self.runner.close()

    def expect(self, call, wanted):
        """The answer of the queue, if the model wants one; else the refusal that it wants."""
        if wanted:
            return self.run(call)
        try:
            self.run(call)
        except LeaseLost:
            return None
        raise AssertionError("the queue did what the model refuses")

    def expect_receipt(self, call, attempt, wanted):
        receipt = self.expect(call, wanted)
        if receipt is not None:
            assert (receipt.state, receipt.outcome) == (attempt.job.state, attempt.outcome)

    def newest(self, attempt, wanted):
        """Rather the attempt that holds the job, so that jobs get on."""
        return attempt.job.holder or attempt if wanted else attempt

    def wait(self, brief):
        if brief:
            self.run(asyncio.sleep(0.002))

    # ── the rules ────────────────────────────────────────────────────────────────────────────

    @initialize(size=st.integers(1, 3))
    def add(self, size):
        new = NewCrawl(
            name=CRAWL,
            base="",
            paths=tuple(f"{number}.warc" for number in range(size)),
            recipe=Recipe(kind=SourceKind.WARC),
            seed=SEED,
        )
        assert self.run(self.queue.add(new)).jobs == size
        self.jobs = [Job(index) for index in range(size)]

    @rule(
        target=leases,
        name=st.sampled_from(WORKERS),
        brief=st.booleans(),
    )
    def lease(self, name, brief):
        account, worker = name
        queue = self.hasty if brief else self.queue
        answer = self.run(queue.lease(CRAWL, account, worker))
        holds = sum(
            job.state is JobState.LEASED
            and (job.holder.account, job.holder.worker) == (account, worker)
            for job in self.jobs
        )
        waiting = [job for job in self.jobs if job.state is JobState.PENDING and job.tries]
        others = {job.index for job in waiting if job.shun != account}
        if holds >= MAX_HELD:
            assert answer is IdleReason.QUOTA
            return multiple()
        if others:
            allowed = others
        elif self.cursor < len(self.jobs):
            allowed = {Permutation(len(self.jobs), SEED)[self.cursor]}
            self.cursor += 1
        else:
            allowed = {job.index for job in waiting}
        if not allowed:
            assert answer is IdleReason.NO_WORK
            return multiple()
        assert isinstance(answer, HeldLease)
        assert answer.job.index in allowed
        job = self.jobs[answer.job.index]
        attempt = Try(job, len(job.tries) + 1, account, worker, answer.lease_id, brief)
        assert answer.attempt == attempt.number
        job.tries.append(attempt)
        job.state, job.holder = JobState.LEASED, attempt
        self.attempts += 1
        self.wait(brief)
        return attempt

    @rule(attempt=leases, brief=st.booleans())
    def extend(self, attempt, brief):
        job = attempt.job
        queue = self.hasty if brief else self.queue
        holds = job.state is JobState.LEASED and job.holder is attempt
        revives = job.may_come_late(attempt) and attempt.outcome is Outcome.EXPIRED
        call = queue.extend(attempt.lease_id, attempt.account, Progress())
        if self.expect(call, holds or revives) is not None:
            if revives:
                job.reopen(attempt)
                job.state = JobState.LEASED
            attempt.brief = brief
            self.wait(brief)

    @rule(attempt=leases, newest=st.booleans(), kept=st.integers(0, 9))
    def complete(self, attempt, newest, kept):
        attempt = self.newest(attempt, newest)
        job = attempt.job
        holds = job.holder is attempt
        late = job.may_come_late(attempt)
        call = self.queue.complete(attempt.lease_id, attempt.account, manifest_of(kept))
        if (holds and job.state is JobState.LEASED) or late:
            if late:
                job.reopen(attempt)
            attempt.late = late or attempt.brief
            attempt.kept = kept
            job.state = JobState.VERIFYING
        self.expect_receipt(call, attempt, holds or late or attempt.outcome is Outcome.INVALID)

    @rule(attempt=leases)
    def release(self, attempt):
        job = attempt.job
        call = self.queue.release(attempt.lease_id, attempt.account, "bye")
        if job.holder is attempt and job.state is JobState.LEASED:
            job.end(attempt, Outcome.RELEASED)
        self.expect_receipt(call, attempt, attempt.outcome is Outcome.RELEASED)

    @rule(attempt=leases, blame=st.sampled_from(FailureClass))
    def fail(self, attempt, blame):
        job = attempt.job
        call = self.queue.fail(attempt.lease_id, attempt.account, blame, "no")
        if job.holder is attempt and job.state is JobState.LEASED:
            job.end(attempt, Outcome.FAILED, blame)
        self.expect_receipt(call, attempt, attempt.outcome is Outcome.FAILED)

    @rule()
    def verify_next(self):
        submission = self.run(self.queue.claim_verification(CRAWL, timedelta(milliseconds=1)))
        waiting = {job.holder.lease_id for job in self.jobs if job.state is JobState.VERIFYING}
        if submission is None:
            assert not waiting
        else:
            assert submission.lease_id in waiting
            holder = self.jobs[submission.job.index].holder
            assert (submission.manifest, submission.late) == (manifest_of(holder.kept), holder.late)
            self.wait(brief=True)

    @rule(attempt=leases, newest=st.booleans())
    def accept(self, attempt, newest):
        attempt = self.newest(attempt, newest)
        job = attempt.job
        mine = job.holder is attempt
        counts = manifest_of(attempt.kept).counts
        call = self.queue.accept(attempt.lease_id, counts, attempt.kept * 10)
        if mine and job.state is JobState.VERIFYING:
            job.state = JobState.ACCEPTED
            attempt.outcome = Outcome.LATE_OK if attempt.late else Outcome.OK
        self.expect_receipt(call, attempt, mine and job.state is JobState.ACCEPTED)

    @rule(attempt=leases, newest=st.booleans())
    def reject(self, attempt, newest):
        attempt = self.newest(attempt, newest)
        job = attempt.job
        call = self.queue.reject(attempt.lease_id, "no")
        if job.holder is attempt and job.state is JobState.VERIFYING:
            job.end(attempt, Outcome.INVALID)
        self.expect_receipt(call, attempt, attempt.outcome is Outcome.INVALID)

    @rule()
    def reap(self):
        over = [job for job in self.jobs if job.state is JobState.LEASED and job.holder.brief]
        assert self.run(self.queue.reap(CRAWL)) == len(over)
        for job in over:
            job.end(job.holder, Outcome.EXPIRED)

    @rule(indexes=st.sets(st.integers(0, 3)))
    def requeue(self, indexes):
        wanted = {}
        for index in indexes:
            job = self.jobs[index] if index < len(self.jobs) else None
            if job is None:
                verdict = "unknown"
            elif job.state is JobState.DEAD:
                verdict = "requeued"
                job.state, job.since = JobState.PENDING, len(job.tries)
            elif job.state is JobState.LEASED:
                verdict = "requeued"
                job.end(job.holder, Outcome.SUPERSEDED)
            else:
                verdict = "unchanged"
            wanted[JobRef(CRAWL, index)] = verdict
        assert self.run(self.queue.requeue(wanted, "why not", dry_run=True)) == wanted
        assert self.run(self.queue.requeue(wanted, "why not")) == wanted

    @rule()
    def pause_and_resume(self):
        self.run(self.queue.pause(CRAWL))
        assert self.run(self.queue.lease(CRAWL, "ada", "w1")) is IdleReason.PAUSED
        self.run(self.queue.resume(CRAWL))

    @rule(attempt=leases)
    def ask(self, attempt):
        job = attempt.job
        self.expect_receipt(self.queue.receipt(attempt.lease_id, attempt.account), attempt, True)
        is_open = (job.holder is attempt and job.state is JobState.LEASED) or job.may_come_late(
            attempt
        )
        lease = self.expect(self.queue.open_lease(attempt.lease_id, attempt.account), is_open)
        assert lease is None or lease.lease_id == attempt.lease_id
        try:
            self.run(self.queue.release(attempt.lease_id, "eve", "mine"))
        except NotFound:
            return
        raise AssertionError("a stranger handed back somebody's job")

    # ── what must hold after each of them ────────────────────────────────────────────────────

    def having(self, state):
        return [job for job in self.jobs if job.state is state]

    @invariant()
    def the_counts_are_a_recount(self):
        if not self.jobs:
            return
        stats = self.run(self.queue.stats(CRAWL, silent_for=timedelta(0)))
        assert stats.jobs == JobCounts(
            total=len(self.jobs), **{state: len(self.having(state)) for state in JobState}
        )
        kept = [job.holder.kept for job in self.having(JobState.ACCEPTED)]
        assert (stats.kept, stats.pairs, stats.bytes) == (sum(kept), sum(kept), sum(kept) * 10)
        assert stats.attempts == self.attempts
        assert stats.accepted_last_hour == len(kept)
        assert stats.stale == stats.jobs.leased
        credits = {}
        for job in self.having(JobState.ACCEPTED):
            before = credits.get(job.holder.account, Credit(0, 0))
            credits[job.holder.account] = Credit(before.jobs + 1, before.kept + job.holder.kept)
        assert self.run(self.queue.credits(CRAWL)) == credits

    @invariant()
    def each_job_is_in_one_place_and_looks_as_it_should(self):
        async def look():
            prefix = f"crawl:{{{CRAWL}}}:"
            async with self.redis.pipeline() as pipeline:
                for place in ("retry", "leases", "beats", "verifying", "dead"):
                    pipeline.zrange(prefix + place, 0, -1)
                pipeline.hkeys(prefix + "finished")
                for account, worker in WORKERS:
                    pipeline.smembers(f"{prefix}held:{account}/{worker}")
                for job in self.jobs:
                    pipeline.hgetall(f"{prefix}job:{job.index}")
                return await pipeline.execute()

        retry, leases, beats, verifying, dead, finished, *rest = self.run(look())
        held, each = rest[: len(WORKERS)], rest[len(WORKERS) :]

        def at(jobs):
            return sorted(str(job.index) for job in jobs)

        assert sorted(retry) == at(job for job in self.having(JobState.PENDING) if job.tries)
        assert sorted(leases) == sorted(beats) == at(self.having(JobState.LEASED))
        assert sorted(verifying) == at(self.having(JobState.VERIFYING))
        assert sorted(dead) == at(self.having(JobState.DEAD))
        assert sorted(finished) == at(self.having(JobState.ACCEPTED))
        for name, indexes in zip(WORKERS, held, strict=True):
            holders = [(job, job.holder) for job in self.having(JobState.LEASED)]
            mine = [job for job, holder in holders if (holder.account, holder.worker) == name]
            assert sorted(indexes) == at(mine)
        for job, fields in zip(self.jobs, each, strict=True):
            gone = job.state is JobState.ACCEPTED and len(job.tries) == 1
            if gone or not job.tries:
                assert fields == {}
            else:
                assert (fields["state"], int(fields["attempt"])) == (job.state, len(job.tries))
                holder = str(job.holder.number) if job.holder else None
                assert fields.get("holder") == holder
                assert ("manifest" in fields) == (job.state is JobState.VERIFYING)
                for attempt in job.tries:
                    told = json.loads(fields[f"a:{attempt.number}"])
                    assert told.get("outcome") == attempt.outcome

    @invariant()
    def no_job_is_tried_for_ever_by_enough_accounts(self):
        for job in self.jobs:
            tries = [a for a in job.tries[job.since :] if a.outcome is not Outcome.SUPERSEDED]
            before = tries[: RETRY.max_leases]
            if len(tries) > len(before):
                assert len({attempt.account for attempt in before}) < RETRY.min_accounts


def test_the_queue_does_what_the_model_says(redis_url):
    QueueMachine.redis_url = redis_url
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
