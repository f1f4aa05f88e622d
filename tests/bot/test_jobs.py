"""`/jobs stale` and `/jobs reassign`: what is seen, and what it does."""

import asyncio
from datetime import timedelta

import pytest

from bot.bot import LaionBot
from tests.bot.acts import REASON, confirm_with, outcomes, press, run
from tests.bot.house import CRAWL, House
from tests.fake_discord import texts

# ── looking ──────────────────────────────────────────────────────────────────────────────────────


async def test_an_admin_sees_who_is_silent_longest_first(house: House, bot: LaionBot) -> None:
    town = house.town
    (late,) = await house.tracker.go_silent(1, for_=timedelta(minutes=20))
    (later,) = await house.tracker.go_silent(1, for_=timedelta(minutes=50))
    await house.tracker.lease()
    seen = await run(house, town.alice, town.chat, "jobs stale")
    assert seen.message.ephemeral
    text = texts(seen.message)
    assert text.startswith("**2 stale jobs**")
    assert "vera on pc-2 · attempt 1" in text
    assert text.index(f"**{later.job}**") < text.index(f"**{late.job}**")


async def test_silence_and_crawl_narrow_the_list(house: House, bot: LaionBot) -> None:
    town = house.town
    await house.tracker.add_crawl("CC-TEST-2")
    await house.tracker.go_silent(2, for_=timedelta(minutes=20))
    await house.tracker.go_silent(3, for_=timedelta(minutes=50), crawl="CC-TEST-2")

    async def title(**given) -> str:
        return texts((await run(house, town.alice, town.chat, "jobs stale", **given)).message)[:20]

    assert "5 stale jobs" in await title()
    assert "3 stale jobs" in await title(silent=30)
    assert "2 stale jobs" in await title(crawl=CRAWL)
    assert "Stale jobs" in await title(crawl=CRAWL, silent=30)


async def test_crawls_are_completed_while_typing(house: House, bot: LaionBot) -> None:
    town, people = house.town, house.discord.people
    await house.tracker.add_crawl("OTHER-9")
    async with asyncio.timeout(30):  # an answer may be one to an earlier question
        while len((await bot.project.refresh()).stats.crawls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    offered = await people.autocomplete(town.alice, town.chat, "jobs stale", "crawl", crawl="oth")
    assert offered == ["OTHER-9"]
    offered = await people.autocomplete(town.alice, town.chat, "jobs reassign", "job", job="all")
    assert offered == ["all stale"]


# ── reassigning ──────────────────────────────────────────────────────────────────────────────────


async def test_nothing_happens_before_it_is_confirmed_with_a_reason(
    house: House, bot: LaionBot
) -> None:
    town = house.town
    silent = await house.tracker.go_silent(3)
    working = await house.tracker.lease()

    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    assert asked.message.ephemeral
    assert "3 jobs would be given to other workers" in texts(asked.message)
    assert all(str(lease.job) in texts(asked.message) for lease in silent)
    opened = await press(house, town.alice, asked, "Reassign")
    assert await outcomes(house, silent) == ["leased"] * 3

    await house.discord.people.submit(opened, reason=REASON)
    await house.discord.signal.until(lambda: not asked.message.components)
    assert texts(asked.message) == "Requeued 3 jobs."
    assert await outcomes(house, silent) == ["superseded"] * 3
    assert await house.tracker.state_of(working) == "leased"


async def test_one_job_by_its_id(house: House, bot: LaionBot) -> None:
    town = house.town
    one, other = await house.tracker.go_silent(2)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job=str(one.job))
    assert "1 job would be given" in texts(asked.message)
    assert await confirm_with(house, town.alice, asked) == "Requeued 1 job."
    assert await outcomes(house, [one, other]) == ["superseded", "leased"]


async def test_a_worker_that_came_back_keeps_its_job(house: House, bot: LaionBot) -> None:
    town = house.town
    gone, back = await house.tracker.go_silent(2)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    await house.tracker.beat(back)
    text = await confirm_with(house, town.alice, asked)
    assert text == "Requeued 1 job. 1 job came back or finished meanwhile: left alone."
    assert await outcomes(house, [gone, back]) == ["superseded", "leased"]


async def test_a_single_job_that_came_back_is_left_alone(house: House, bot: LaionBot) -> None:
    town = house.town
    (back,) = await house.tracker.go_silent(1)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job=str(back.job))
    await house.tracker.beat(back)
    text = await confirm_with(house, town.alice, asked)
    assert text == "Requeued 0 jobs. 1 job came back or finished meanwhile: left alone."
    assert await outcomes(house, [back]) == ["leased"]


async def test_what_became_stale_after_the_look_is_not_meant(house: House, bot: LaionBot) -> None:
    town = house.town
    seen = await house.tracker.go_silent(1, for_=timedelta(minutes=30))
    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    unseen = await house.tracker.go_silent(1, for_=timedelta(minutes=20))
    assert await confirm_with(house, town.alice, asked) == "Requeued 1 job."
    assert await outcomes(house, [*seen, *unseen]) == ["superseded", "leased"]


async def test_confirming_twice_does_it_once(house: House, bot: LaionBot) -> None:
    town, people = house.town, house.discord.people
    (lease,) = await house.tracker.go_silent(1)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job=str(lease.job))
    first, second = [await press(house, town.alice, asked, "Reassign") for _ in range(2)]
    for opened in (first, second):
        done = await people.submit(opened, reason=REASON)
        await house.discord.signal.until(lambda done=done: done.message.edits)
        await house.discord.signal.until(lambda: not asked.message.components)
    await house.discord.signal.until(lambda: "unchanged" in texts(asked.message))
    assert texts(asked.message).startswith("Requeued 0 jobs. 1 job unchanged")


async def test_cancel_changes_nothing(house: House, bot: LaionBot) -> None:
    town = house.town
    (lease,) = await house.tracker.go_silent(1)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    await press(house, town.alice, asked, "Cancel")
    assert texts(asked.message) == "Cancelled; nothing was changed."
    assert not asked.message.components
    assert await house.tracker.state_of(lease) == "leased"


@pytest.mark.parametrize(
    ("job", "answer"),
    [
        ("all stale", "No job is stale."),
        ("what?", "That is no job."),
        ("CC-NONE/1", "There is no job CC-NONE/1"),
        (f"{CRAWL}/1", f"Job {CRAWL}/1 is waiting for a worker or done"),
    ],
)
async def test_there_is_nothing_to_confirm(
    house: House, bot: LaionBot, job: str, answer: str
) -> None:
    town = house.town
    asked = await run(house, town.alice, town.chat, "jobs reassign", job=job)
    assert answer in texts(asked.message)
    assert not asked.message.components


async def test_the_audit_log_has_the_person_and_the_reason(house: House, bot: LaionBot) -> None:
    town = house.town
    await house.tracker.go_silent(1)
    asked = await run(house, town.alice, town.chat, "jobs reassign", job="all stale")
    await confirm_with(house, town.alice, asked, "disk\nfull   <@123>")
    rows = await house.tracker.audit()
    done = [row for row in rows if row.action == "jobs_requeue" and row.result == "ok"]
    assert [(row.actor, row.via, row.reason) for row in done] == [
        ("alice", "discord-bot", "disk full <@123>")
    ]
    interactions = {one.id for one in house.discord.people.all}
    asked_for = [row.reason.split()[-1] for row in rows if row.action == "delegate"]
    assert asked_for
    assert set(asked_for) <= interactions


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_dead_tracker_is_told_to_the_admin(house: House, bot: LaionBot) -> None:
    house.line.cut()
    town = house.town
    done = await run(house, town.alice, town.chat, "jobs stale")
    assert "The tracker does not answer at the moment" in texts(done.message)


async def test_an_unthought_of_fault_gets_a_number(
    house: House, bot: LaionBot, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr(bot.desk, "stale", broken, raising=False)
    done = await run(house, house.town.alice, house.town.chat, "jobs stale")
    text = texts(done.message)
    assert "nobody thought" not in text
    logged = [record for record in caplog.records if "error" in record.message]
    assert len(logged) == 1
    assert logged[0].exc_info
    assert logged[0].message.split()[1] in text
