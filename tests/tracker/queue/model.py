"""What the queue must do, in plain Python: no Redis, no time but 'its lease is over'."""

from dataclasses import dataclass, field

from laion_protocol import FailureClass, JobState, Outcome, Stage

TAKEN = (Outcome.EXPIRED, Outcome.SUPERSEDED)
DONE = (Outcome.OK, Outcome.LATE_OK)


@dataclass(eq=False)
class Try:
    """One attempt."""

    job: "Job"
    number: int
    account: str
    worker: str
    lease_id: str
    stage: Stage
    brief: bool  # its lease time is over
    outcome: Outcome | None = None
    by_admin: bool = False
    charged: bool = False
    late: bool = False
    replica: bool = False
    kept: int = 0

    @property
    def holds(self):
        return self.job.holder is self

    @property
    def is_leased(self):
        return self.holds and self.job.state is JobState.LEASED

    @property
    def is_wanted(self):
        fetched = self.job.fetched
        if self.stage is Stage.FETCH:
            return fetched is None
        return self.stage is Stage.HYBRID or (fetched is not None and fetched.number < self.number)

    @property
    def may_come_late(self):
        is_open = self.job.state in (JobState.PENDING, JobState.DEAD)
        return self.outcome in TAKEN and is_open and self.is_wanted

    @property
    def has_lost_to_another(self):
        done = self.job.state in (JobState.VERIFYING, JobState.ACCEPTED)
        outdone = self.stage is Stage.FETCH and not self.is_wanted
        return self.outcome in TAKEN and not self.holds and (done or outdone)

    @property
    def was_handed_in(self):
        checked = self.outcome in (*DONE, Outcome.INVALID)
        return checked or (self.holds and not self.is_leased)


@dataclass(eq=False)
class Job:
    """One job."""

    index: int
    retry: object
    state: JobState = JobState.PENDING
    tries: list[Try] = field(default_factory=list)
    holder: Try | None = None
    fetched: Try | None = None  # whose intermediate waits to be scored, or is
    since: int = 0
    shun: str | None = None

    @property
    def waits_again(self):
        return self.state is JobState.PENDING and self.tries and not self.fetched

    @property
    def waits_to_be_scored(self):
        return self.state is JobState.PENDING and self.fetched

    def end(self, attempt, outcome, blame=None):
        attempt.outcome = outcome
        attempt.by_admin = outcome is Outcome.SUPERSEDED
        attempt.charged = outcome not in (Outcome.RELEASED, Outcome.SUPERSEDED) and blame not in (
            FailureClass.NETWORK,
            FailureClass.SERVER,
        )
        self.shun = None if blame is FailureClass.SERVER else attempt.account
        self.holder = None
        retry = self.retry
        counted = [attempt.account for attempt in self.tries[self.since :] if attempt.charged]
        holders = [attempt.account for attempt in self.tries[self.since :]]
        spent = (
            len(counted) >= retry.max_attempts and len(set(counted)) >= retry.min_accounts
        ) or (len(holders) >= retry.max_leases and len(set(holders)) >= retry.min_accounts)
        dead = spent and outcome is not Outcome.SUPERSEDED
        self.state = JobState.DEAD if dead else JobState.PENDING

    def reopen(self, attempt):
        attempt.outcome, attempt.charged, attempt.by_admin = None, False, False
        attempt.replica = False
        self.holder, self.shun = attempt, None

    def accept(self, attempt):
        attempt.outcome = Outcome.LATE_OK if attempt.late else Outcome.OK
        if attempt.stage is Stage.FETCH:
            self.state, self.holder, self.fetched = JobState.PENDING, None, attempt
            self.since, self.shun = len(self.tries), None
        else:
            self.state = JobState.ACCEPTED

    def bring_back(self):
        self.state, self.since, self.fetched = JobState.PENDING, len(self.tries), None
