"""What admins set for everybody: who may, what is kept, who hears of it and when."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from redis.exceptions import TimeoutError

from laion_protocol import Conflict, Forbidden, InvalidRequest, NotFound, Role
from laion_protocol.messages import (
    Announcement,
    Maintenance,
    NewAnnouncement,
    Pause,
    ProjectState,
    WorkerVersions,
)
from tracker.project import MAX_ANNOUNCEMENTS, Project

PAUSE = Pause(reason="too many complaints")
VERSIONS = WorkerVersions(least="0.2", reason="a bug in the extractor", recommended="0.3")


def in_(**time):
    return datetime.now(UTC) + timedelta(**time)


def rest(**time):
    return Maintenance(until=in_(**time), reason="a new disk")


async def test_anybody_may_read_what_an_admin_set(tracker):
    admin, anyone = await tracker.admin(), await tracker.client(None)
    assert await anyone.project() == ProjectState()

    await admin.pause_project(PAUSE)
    await admin.set_worker_versions(VERSIONS)
    maintenance = rest(hours=2)
    await admin.set_maintenance(maintenance)
    told = await admin.announce(NewAnnouncement(text="a new crawl starts on Monday"))
    assert await anyone.project() == ProjectState(
        paused=PAUSE, maintenance=maintenance, worker_versions=VERSIONS, announcements=(told,)
    )

    await admin.resume_project()
    await admin.end_maintenance()
    await admin.clear_worker_versions()
    await admin.withdraw_announcement(told.id)
    assert await anyone.project() == ProjectState()


async def test_another_process_hears_of_it_within_a_second_and_after_a_restart(redis):
    here, there = Project(redis), Project(redis)
    assert (await there.state()).paused is None
    await here.pause(PAUSE)
    assert (await here.state()).paused == PAUSE
    there._read_at -= 1  # a second passes
    assert (await there.state()).paused == PAUSE
    assert (await Project(redis).state()).paused == PAUSE


async def test_many_who_ask_at_once_cost_one_question(redis):
    project, asked = Project(redis), 0

    class Counting:
        async def eval(self, *args):
            nonlocal asked
            asked += 1
            return await redis.eval(*args)

    project._redis = Counting()
    for _ in range(100):
        await project.state()
    assert asked == 1


async def test_what_was_known_is_good_enough_while_redis_is_slow(redis):
    asked = 0

    class Slow:
        async def eval(self, *_):
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.1)
            raise TimeoutError

    project = Project(redis)
    await project.pause(PAUSE)
    project._redis = Slow()
    project._read_at -= 1  # a second passes
    states = await asyncio.gather(*(project.state() for _ in range(100)))
    assert {state.paused for state in states} == {PAUSE}
    assert asked == 1  # and the others did not try again, one after the other
    fresh = Project(redis)
    fresh._redis = Slow()
    with pytest.raises(TimeoutError):
        await fresh.state()


async def test_maintenance_ends_by_itself(redis):
    project = Project(redis)
    await project.rest(Maintenance(until=await project.now() + timedelta(seconds=30), reason="r"))
    assert (await project.state()).maintenance is not None
    project._clock_ahead += 31  # half a minute passes
    assert (await project.state()).maintenance is None


@pytest.mark.parametrize("time", [{"minutes": -1}, {"days": 31}])
async def test_maintenance_has_a_time_that_can_be_waited_for(redis, time):
    with pytest.raises(InvalidRequest, match="within the next 30 days"):
        await Project(redis).rest(rest(**time))


@pytest.mark.parametrize(
    ("least", "recommended", "field"),
    [("new", None, "least"), ("1.0", "latest", "recommended"), ("1.10", "1.9", "recommended")],
)
async def test_versions_that_are_none_are_refused(redis, least, recommended, field):
    versions = WorkerVersions(least=least, recommended=recommended, reason="r")
    with pytest.raises(InvalidRequest, match=field):
        await Project(redis).require(versions)


async def test_announcements_rise_end_and_are_few(redis):
    project = Project(redis)
    first = await project.announce(NewAnnouncement(text="one"))
    await project.withdraw(first.id)
    until = await project.now() + timedelta(seconds=30)
    numbers = [
        (await project.announce(NewAnnouncement(text="more", until=until))).id
        for _ in range(MAX_ANNOUNCEMENTS)
    ]
    assert numbers == sorted(numbers)
    assert first.id < numbers[0]  # a number is never given twice: workers show each once
    with pytest.raises(Conflict, match="withdraw one"):
        await project.announce(NewAnnouncement(text="one too many"))
    project._clock_ahead += 31
    assert (await project.state()).announcements == ()


async def test_what_is_over_makes_room_for_what_is_new(redis):
    project = Project(redis)
    past = Announcement(id=7, text="old", until=in_(days=-1))
    await redis.hset("{project}:state", "announcement:7", past.model_dump_json())
    await redis.hset("{project}:state", "announced", 7)
    told = await project.announce(NewAnnouncement(text="new"))
    assert told.id == 8
    assert not await redis.hexists("{project}:state", "announcement:7")
    with pytest.raises(InvalidRequest, match="is over"):
        await project.announce(NewAnnouncement(text="too late", until=in_(days=-1)))
    with pytest.raises(NotFound):
        await project.withdraw(7)


async def test_moderators_may_pause_but_not_choose_versions_and_volunteers_nothing(tracker):
    moderator = await tracker.client(await tracker.account("mod", Role.MODERATOR))
    volunteer = await tracker.worker("ann")
    await moderator.pause_project(PAUSE)
    await moderator.set_maintenance(rest(hours=1))
    await moderator.announce(NewAnnouncement(text="hello"))
    with pytest.raises(Forbidden, match="accounts"):
        await moderator.set_worker_versions(VERSIONS)
    for call in (
        lambda: volunteer.pause_project(PAUSE),
        lambda: volunteer.resume_project(),
        lambda: volunteer.set_maintenance(rest(hours=1)),
        lambda: volunteer.end_maintenance(),
        lambda: volunteer.clear_worker_versions(),
        lambda: volunteer.announce(NewAnnouncement(text="hello")),
        lambda: volunteer.withdraw_announcement(1),
    ):
        with pytest.raises(Forbidden):
            await call()


async def test_each_change_is_in_the_log_with_what_was_before_and_after(tracker):
    admin = await tracker.admin()
    await admin.pause_project(PAUSE)
    await admin.pause_project(Pause(reason="another"))
    await admin.resume_project()
    with pytest.raises(InvalidRequest):
        await admin.set_maintenance(rest(days=-1))
    told = await admin.announce(NewAnnouncement(text="hello"))
    await admin.withdraw_announcement(told.id)
    rows = [row for row in (await admin.audit()).rows if row.action != "account_add"]
    [first, second, third, refused, announced, withdrawn] = reversed(rows)
    assert (first.action, first.before, first.after) == (
        "project_pause", None, {"reason": PAUSE.reason},
    )  # fmt: skip
    assert (second.before, second.after, second.reason) == (
        {"reason": PAUSE.reason}, {"reason": "another"}, "another",
    )  # fmt: skip
    assert (third.action, third.before, third.after) == (
        "project_resume", {"reason": "another"}, None,
    )  # fmt: skip
    assert (refused.action, refused.result) == ("maintenance_set", "invalid_request")
    assert announced.after == told.model_dump(mode="json") == withdrawn.before
