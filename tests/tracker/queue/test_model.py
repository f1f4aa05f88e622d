"""All verbs in any order: the queue does what a plain-Python model says that it must."""

import asyncio
import json
from collections import Counter
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from laion_protocol import (
    Conflict,
    Counts,
    CrawlState,
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
    Stage,
)
from laion_protocol.messages import JobCounts, NewCrawl, Progress
from tests.tracker.queue.model import DONE, Job, Try
from tracker.queue import Credit, Fetched, HeldLease, JobQueue, JobRef, RetryPolicy
from tracker.queue.permutation import Permutation
from tracker.queue.scripts import Script

CRAWL = "CC-MODEL"
SEED = 5
RETRY = RetryPolicy(
    max_attempts=2, min_accounts=2, max_leases=4, delay=timedelta(0), max_delay=timedelta(0)
)
MAX_HELD = 2
MAX_HELD_ACCOUNT = 3
SCORE_BACKLOG = 1
REAP = Script("reap").sha1
#: Sent again, they answer word by word the same; the answers of others tell the time.
ALIKE = {
    Script(name).sha1
    for name in (
        "add", "lease", "complete", "replicate", "release", "fail", "accept", "reject",
        "refetch", "requeue", "cancel", "set_state",
    )
}  # fmt: skip
ABLE_TO = [
    frozenset({Stage.HYBRID}),
    frozenset({Stage.FETCH}),
    frozenset({Stage.SCORE}),
    frozenset({Stage.HYBRID, Stage.SCORE}),
    frozenset({Stage.FETCH, Stage.SCORE}),
]
ACCOUNTS = ("ada", "bob", "cyd")
WORKERS = [(account, worker) for account in ACCOUNTS for worker in ("w1", "w2")]


def manifest_of(kept, stage=Stage.HYBRID):
    return Manifest(
        stage=stage,
        recipe_sha256="0" * 64,
        worker_version="1",
        filter_version="1",
        model_sha256=None if stage is Stage.FETCH else "1" * 64,
        source=SourceDigest(
            path="a", part=0, parts=1, first_byte=0, end_byte=1, pairs_sha256="2" * 64
        ),
        counts=Counts(pairs=kept, kept=kept),
        files=(FileEntry(name="shard.parquet", size=1, sha256="3" * 64),),
        seconds=1,
    )


def at_work(machine):
    """Of runs without leases there would be too many, and they show nothing."""
    return machine.attempts > 0


class Resending(Redis):
    """A client whose line breaks at every `every`-th script, after Redis ran it and before the
    answer came: it sends the script again, and hands on the answer to that. 0: never."""

    every, calls = 0, 0

    async def evalsha(self, sha, *args):
        first = await super().evalsha(sha, *args)
        self.calls += 1
        if not self.every or self.calls % self.every or sha == REAP:
            return first  # `reap` tells what it did itself, and no caller depends on it
        again = await super().evalsha(sha, *args)
        assert (again == first) if sha in ALIKE else (again[0] == first[0])
        return again


class QueueMachine(RuleBasedStateMachine):
    """Hypothesis calls the rules; each asks the queue and the model, and compares."""

    leases = Bundle("leases")
    redis_url: str

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = self.run(self.connect())
        options = {
            "max_held": MAX_HELD,
            "max_held_account": MAX_HELD_ACCOUNT,
            "score_backlog": SCORE_BACKLOG,
            "retry": RETRY,
        }
        self.queue = JobQueue(self.redis, lease_duration=timedelta(hours=1), **options)
        self.hasty = JobQueue(self.redis, lease_duration=timedelta(milliseconds=1), **options)
        self.jobs = []
        self.state = CrawlState.ACTIVE
        self.cursor = 0
        self.attempts = 0
        self.fetched = Counter()

    async def connect(self):
        redis = Resending.from_url(self.redis_url, decode_responses=True)
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
        """Rather the attempt that holds the job, or any that holds one, so that jobs get on."""
        if not wanted:
            return attempt
        is_open = (JobState.LEASED, JobState.VERIFYING)
        holders = (job.holder for job in (attempt.job, *self.jobs) if job.state in is_open)
        return next(holders, attempt)

    def settle(self):
        """A draining crawl is finished when nothing is open; to be said after each ending."""
        is_open = self.having(JobState.LEASED) or self.having(JobState.VERIFYING)
        if self.state is CrawlState.DRAINING and not is_open:
            self.state = CrawlState.FINISHED

    def wait(self, brief):
        if brief:
            self.run(asyncio.sleep(0.002))

    # ── the rules ────────────────────────────────────────────────────────────────────────────

    @initialize(size=st.integers(1, 3), every=st.integers(0, 3))
    def add(self, size, every):
        self.redis.every = every
        new = NewCrawl(
            name=CRAWL,
            base="/",
            paths=tuple(f"{number}.warc" for number in range(size)),
            recipe=Recipe(kind=SourceKind.WARC),
            seed=SEED,
        )
        assert self.run(self.queue.add(new)).jobs == size
        self.jobs = [Job(index, RETRY) for index in range(size)]

    @rule(
        target=leases,
        name=st.sampled_from(WORKERS),
        brief=st.booleans(),
        stages=st.sampled_from(ABLE_TO),
    )
    def lease(self, name, brief, stages):
        account, worker = name
        queue = self.hasty if brief else self.queue
        answer = self.run(queue.lease(CRAWL, account, worker, stages))
        reason = self.why_idle(account, worker)
        if reason is not None:
            assert answer is reason
            self.resume()  # or nothing would happen any more
            return multiple()
        allowed = self.allowed(account, stages)
        if not allowed:
            assert answer is IdleReason.NO_WORK
            return multiple()
        assert isinstance(answer, HeldLease)
        assert answer.job.index in allowed
        job = self.jobs[answer.job.index]
        if job.fetched:
            stage = Stage.SCORE
            assert answer.fetched.lease_id == job.fetched.lease_id
        else:
            stage = Stage.HYBRID if Stage.HYBRID in stages else Stage.FETCH
            assert answer.fetched is None
        attempt = Try(job, len(job.tries) + 1, account, worker, answer.lease_id, stage, brief)
        assert (answer.attempt, answer.stage) == (attempt.number, stage)
        job.tries.append(attempt)
        job.state, job.holder = JobState.LEASED, attempt
        self.attempts += 1
        self.wait(brief)
        return attempt

    def why_idle(self, account, worker):
        """Why the crawl gives this worker nothing, whatever waits."""
        if self.state is not CrawlState.ACTIVE:
            finished = self.state is CrawlState.FINISHED
            return IdleReason.NO_WORK if finished else IdleReason(self.state)
        holders = [job.holder for job in self.having(JobState.LEASED)]
        mine = [holder.worker for holder in holders if holder.account == account]
        full = mine.count(worker) >= MAX_HELD or len(mine) >= MAX_HELD_ACCOUNT
        return IdleReason.QUOTA if full else None

    def allowed(self, account, stages):
        """The jobs of which the worker gets one; takes the next fresh one, if it is its turn."""
        begins = not stages.isdisjoint({Stage.HYBRID, Stage.FETCH})
        again = [job for job in self.jobs if job.waits_again] if begins else []
        score = [job for job in self.jobs if job.waits_to_be_scored]
        if Stage.SCORE not in stages:
            score = []
        first = not begins or len(score) > SCORE_BACKLOG
        order = [score, again, None] if first else [again, None, score]
        for jobs in order:
            if jobs is None:
                if begins and self.cursor < len(self.jobs):
                    self.cursor += 1
                    return {Permutation(len(self.jobs), SEED)[self.cursor - 1]}
            elif others := {job.index for job in jobs if job.shun != account}:
                return others
        return next(({job.index for job in jobs} for jobs in order if jobs), set())

    @rule(attempt=leases, brief=st.booleans())
    def extend(self, attempt, brief):
        job = attempt.job
        queue = self.hasty if brief else self.queue
        revives = attempt.may_come_late and attempt.outcome is Outcome.EXPIRED
        wanted = (attempt.is_leased or revives) and self.state is not CrawlState.FINISHED
        call = queue.extend(attempt.lease_id, attempt.account, Progress())
        extended = self.expect(call, wanted)
        if extended is not None:
            assert (extended.crawl_state, extended.worker) == (self.state, attempt.worker)
            if revives:
                job.reopen(attempt)
                job.state = JobState.LEASED
            attempt.brief = brief
            self.wait(brief)

    @rule(attempt=leases, newest=st.booleans(), kept=st.integers(0, 9))
    def complete(self, attempt, newest, kept):
        attempt = self.newest(attempt, newest)
        job = attempt.job
        late = attempt.may_come_late
        manifest = manifest_of(kept, attempt.stage)
        call = self.queue.complete(attempt.lease_id, attempt.account, manifest)
        if attempt.is_leased or late:
            if late:
                job.reopen(attempt)
            attempt.late = late or attempt.brief
            attempt.kept = kept
            job.state = JobState.VERIFYING
        elif attempt.has_lost_to_another:
            attempt.replica, attempt.outcome = True, Outcome.SUPERSEDED
        wanted = attempt.was_handed_in or attempt.has_lost_to_another
        self.expect_receipt(call, attempt, wanted)

    @rule(attempt=leases, kept=st.integers(0, 9), accepted=st.booleans())
    def get_through(self, attempt, kept, accepted):
        """The usual way, or jobs would hardly ever get to their end."""
        holder = self.newest(attempt, True)
        self.complete(holder, False, kept)
        if accepted:
            self.accept(holder, False)

    @rule(attempt=leases)
    def replicate(self, attempt):
        call = self.queue.replicate(
            attempt.lease_id, attempt.account, manifest_of(1, attempt.stage)
        )
        if attempt.has_lost_to_another:
            attempt.replica, attempt.outcome = True, Outcome.SUPERSEDED
        wanted = attempt.was_handed_in or attempt.has_lost_to_another
        self.expect_receipt(call, attempt, wanted)

    @rule(attempt=leases)
    def release(self, attempt):
        job = attempt.job
        call = self.queue.release(attempt.lease_id, attempt.account, "bye")
        if attempt.is_leased:
            job.end(attempt, Outcome.RELEASED)
            self.settle()
        self.expect_receipt(call, attempt, attempt.outcome is Outcome.RELEASED)

    @rule(attempt=leases, newest=st.booleans(), blame=st.sampled_from(FailureClass))
    def fail(self, attempt, newest, blame):
        attempt = self.newest(attempt, newest)
        job = attempt.job
        call = self.queue.fail(attempt.lease_id, attempt.account, blame, "no")
        if attempt.is_leased:
            job.end(attempt, Outcome.FAILED, blame)
            self.settle()
        self.expect_receipt(call, attempt, attempt.outcome is Outcome.FAILED)

    @precondition(at_work)
    @rule()
    def verify_next(self):
        submission = self.run(self.queue.claim_verification(CRAWL, timedelta(milliseconds=1)))
        waiting = {job.holder.lease_id for job in self.jobs if job.state is JobState.VERIFYING}
        if submission is None:
            assert not waiting
        else:
            assert submission.lease_id in waiting
            holder = self.jobs[submission.job.index].holder
            assert submission.manifest == manifest_of(holder.kept, holder.stage)
            assert (submission.stage, submission.late) == (holder.stage, holder.late)
            if holder.stage is Stage.SCORE:
                assert submission.fetched.lease_id == holder.job.fetched.lease_id
            self.wait(brief=True)

    @rule(attempt=leases, newest=st.booleans())
    def accept(self, attempt, newest):
        attempt = self.newest(attempt, newest)
        job = attempt.job
        counts = manifest_of(attempt.kept).counts
        call = self.queue.accept(attempt.lease_id, counts, attempt.kept * 10)
        if attempt.holds and job.state is JobState.VERIFYING:
            job.accept(attempt)
            if attempt.stage is Stage.FETCH:
                self.fetched[attempt.account] += 1
            self.settle()
        self.expect_receipt(call, attempt, attempt.outcome in DONE)

    @rule(attempt=leases)
    def lose_the_intermediate(self, attempt):
        job = attempt.job
        waits = job.fetched is attempt and job.state is JobState.PENDING
        fetched = Fetched(
            lease_id=attempt.lease_id, account=attempt.account, worker=attempt.worker,
            manifest=manifest_of(attempt.kept, attempt.stage),
        )  # fmt: skip
        assert self.run(self.queue.refetch(fetched)) is waits
        if waits:
            job.fetched = None

    @rule(attempt=leases, newest=st.booleans())
    def reject(self, attempt, newest):
        attempt = self.newest(attempt, newest)
        job = attempt.job
        call = self.queue.reject(attempt.lease_id, "no")
        if attempt.holds and job.state is JobState.VERIFYING:
            job.end(attempt, Outcome.INVALID)
            self.settle()
        self.expect_receipt(call, attempt, attempt.outcome is Outcome.INVALID)

    @precondition(at_work)
    @rule()
    def reap(self):
        over = [job for job in self.jobs if job.state is JobState.LEASED and job.holder.brief]
        assert self.run(self.queue.reap(CRAWL)) == len(over)
        for job in over:
            job.end(job.holder, Outcome.EXPIRED)
        self.settle()

    @precondition(at_work)
    @rule(indexes=st.sets(st.integers(0, 3)))
    def requeue(self, indexes):
        wanted = {}
        for index in indexes:
            job = self.jobs[index] if index < len(self.jobs) else None
            if job is None:
                verdict = "unknown"
            elif job.state is JobState.DEAD:
                verdict = "requeued"
                job.bring_back()
            elif job.state is JobState.LEASED:
                verdict = "requeued"
                job.end(job.holder, Outcome.SUPERSEDED)
            else:
                verdict = "unchanged"
            wanted[JobRef(CRAWL, index)] = verdict
        assert self.run(self.queue.requeue(wanted, "why not", dry_run=True)) == wanted
        assert self.run(self.queue.requeue(wanted, "why not")) == wanted
        self.settle()

    @precondition(at_work)
    @rule(name=st.sampled_from(WORKERS), whole=st.booleans())
    def cancel(self, name, whole):
        account, worker = name
        held = [
            job
            for job in self.having(JobState.LEASED)
            if job.holder.account == account and (whole or job.holder.worker == worker)
        ]
        call = self.queue.cancel(account, None if whole else worker, "banned")
        assert self.run(call) == len(held)
        for job in held:
            job.end(job.holder, Outcome.SUPERSEDED)
        self.settle()

    @precondition(at_work)
    @rule(verb=st.sampled_from(["pause", "drain", "finish"]))
    def end_or_rest(self, verb):
        before = self.state
        if verb == "pause" and before is CrawlState.FINISHED:
            try:
                self.run(self.queue.pause(CRAWL))
            except Conflict:
                return
            raise AssertionError("a finished crawl was paused")
        answer = self.run(getattr(self.queue, verb)(CRAWL))
        if verb == "pause":
            self.state = CrawlState.PAUSED
        elif verb == "finish":
            self.state = CrawlState.FINISHED
        elif before is not CrawlState.FINISHED:
            self.state = CrawlState.DRAINING
        self.settle()
        assert answer in (None, self.state)

    def resume(self):
        self.run(self.queue.resume(CRAWL))
        self.state = CrawlState.ACTIVE

    @rule(attempt=leases)
    def ask(self, attempt):
        job = attempt.job
        self.expect_receipt(self.queue.receipt(attempt.lease_id, attempt.account), attempt, True)
        is_open = attempt.is_leased or attempt.may_come_late
        lease = self.expect(self.queue.open_lease(attempt.lease_id, attempt.account), is_open)
        assert lease is None or lease.lease_id == attempt.lease_id
        is_fetched = job.fetched is attempt and job.state is not JobState.ACCEPTED
        kept = self.run(self.queue.is_kept(attempt.lease_id))
        assert kept == (attempt.holds or attempt.may_come_late or is_fetched)
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
        assert stats.state is self.state
        assert stats.scoring == sum(bool(job.waits_to_be_scored) for job in self.jobs)
        assert stats.fetched == self.fetched.total()
        credits = {account: Credit(0, 0, fetched) for account, fetched in self.fetched.items()}
        for job in self.having(JobState.ACCEPTED):
            before = credits.get(job.holder.account, Credit(0, 0, 0))
            credits[job.holder.account] = Credit(
                before.jobs + 1, before.kept + job.holder.kept, before.fetched
            )
        assert self.run(self.queue.credits(CRAWL)) == credits

    @invariant()
    def each_job_is_in_one_place_and_looks_as_it_should(self):
        async def look():
            prefix = f"crawl:{{{CRAWL}}}:"
            async with self.redis.pipeline() as pipeline:
                for place in ("retry", "score", "leases", "beats", "verifying", "dead"):
                    pipeline.zrange(prefix + place, 0, -1)
                pipeline.hkeys(prefix + "finished")
                for account, worker in WORKERS:
                    pipeline.smembers(f"{prefix}held:{account}/{worker}")
                for account in ACCOUNTS:
                    pipeline.smembers(f"{prefix}held:{account}")
                for job in self.jobs:
                    pipeline.hgetall(f"{prefix}job:{job.index}")
                return await pipeline.execute()

        retry, score, leases, beats, verifying, dead, finished, *rest = self.run(look())
        held, rest = rest[: len(WORKERS)], rest[len(WORKERS) :]
        of_account, each = rest[: len(ACCOUNTS)], rest[len(ACCOUNTS) :]

        def at(jobs):
            return sorted(str(job.index) for job in jobs)

        assert sorted(retry) == at(job for job in self.jobs if job.waits_again)
        assert sorted(score) == at(job for job in self.jobs if job.waits_to_be_scored)
        assert sorted(leases) == sorted(beats) == at(self.having(JobState.LEASED))
        assert sorted(verifying) == at(self.having(JobState.VERIFYING))
        assert sorted(dead) == at(self.having(JobState.DEAD))
        assert sorted(finished) == at(self.having(JobState.ACCEPTED))
        for name, indexes in zip(WORKERS, held, strict=True):
            holders = [(job, job.holder) for job in self.having(JobState.LEASED)]
            mine = [job for job, holder in holders if (holder.account, holder.worker) == name]
            assert sorted(indexes) == at(mine)
        for account, indexes in zip(ACCOUNTS, of_account, strict=True):
            holders = self.having(JobState.LEASED)
            assert sorted(indexes) == at(job for job in holders if job.holder.account == account)
        for job, fields in zip(self.jobs, each, strict=True):
            gone = job.state is JobState.ACCEPTED and len(job.tries) == 1
            if gone or not job.tries:
                assert fields == {}
            else:
                assert (fields["state"], int(fields["attempt"])) == (job.state, len(job.tries))
                holder = str(job.holder.number) if job.holder else None
                assert fields.get("holder") == holder
                assert ("manifest" in fields) == (job.state is JobState.VERIFYING)
                assert "claim" not in fields or job.state is JobState.VERIFYING
                to_be_scored = job.fetched and job.state is not JobState.ACCEPTED
                assert fields.get("stage") == ("score" if to_be_scored else None)
                if to_be_scored:
                    lease_id = json.loads(fields["fetched"])["lease"]
                    assert job.fetched.lease_id.endswith(lease_id)
                else:
                    assert "fetched" not in fields
                for attempt in job.tries:
                    told = json.loads(fields[f"a:{attempt.number}"])
                    assert told.get("outcome") == attempt.outcome
                    assert told.get("stage", "hybrid") == attempt.stage
                    assert (f"r:{attempt.number}" in fields) == attempt.replica

    @invariant()
    def no_job_is_tried_for_ever_by_enough_accounts(self):
        for job in self.jobs:
            tries = [attempt for attempt in job.tries[job.since :] if not attempt.by_admin]
            before = tries[: RETRY.max_leases]
            if len(tries) > len(before):
                assert len({attempt.account for attempt in before}) < RETRY.min_accounts


def test_the_queue_does_what_the_model_says(redis_url):
    QueueMachine.redis_url = redis_url
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
