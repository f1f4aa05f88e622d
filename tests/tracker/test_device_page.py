"""The page on which people let machines in: as forms, and in a real browser."""

import re
import shutil
from contextlib import asynccontextmanager

import pytest

from laion_protocol import AccessDenied, AuthorizationPending, Role, WorkerState
from laion_protocol.messages import DeviceRequest, NewToken
from tracker.identity import UNLIMITED, Accounts, Rate, Rates, Workers

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page:
    """A person with a form."""

    def __init__(self, session):
        self._session = session

    async def get(self, path="/device"):
        async with self._session.get(path) as answer:
            return answer.status, await answer.text(), answer.headers

    async def send(self, fields, **headers):
        async with self._session.post("/device", data=fields, headers=headers) as answer:
            return answer.status, await answer.text()

    async def look(self, code, token, **more):
        return await self.send({"step": "look", "user_code": code, "token": token, **more})

    async def decide(self, html, decision="approve", **headers):
        found = re.search(r'name="ticket" value="([0-9a-f]{64})"', html)
        fields = {"step": "decide", "ticket": found[1], "decision": decision}
        return await self.send(fields, **headers)


def problem(html):
    return re.search(r'role="alert">([^<]*)<', html)[1]


@asynccontextmanager
async def machine(tracker, worker="attic", client="laion-worker 1.0"):
    client_of = await tracker.client(None)
    login = await client_of.start_device_login(DeviceRequest(worker=worker, client=client))

    async def asks():
        return await client_of.poll_device_login(login.device_code)

    yield login, asks


@pytest.fixture
async def page(tracker):
    return Page(await tracker.raw())


async def test_the_owner_of_an_account_looks_at_a_machine_and_lets_it_in(tracker, page):
    token = await tracker.account("ann")
    async with machine(tracker) as (login, asks):
        status, html, _ = await page.get(f"/device?user_code={login.user_code}")
        assert status == 200
        assert f'value="{login.user_code}"' in html
        status, html = await page.look(login.user_code.lower(), f" {token} ")
        assert status == 200
        for word in ("attic", "laion-worker 1.0", "ann", "just now"):
            assert word in html
        assert token not in html
        status, html = await page.decide(html)
        assert (status, "is let in, for the account ann" in html) == (200, True)
        assert (await asks()).account == "ann"
    [row] = (await (await tracker.admin()).audit(1)).rows
    assert (row.actor, row.action, row.target, row.result) == (
        "ann", "device_approve", "ann attic", "ok",
    )  # fmt: skip


async def test_a_machine_that_nobody_knows_is_refused(tracker, page):
    token = await tracker.account("ann")
    async with machine(tracker) as (login, asks):
        _, html = await page.look(login.user_code, token)
        _, html = await page.decide(html, "deny")
        assert "is refused" in html
        with pytest.raises(AccessDenied):
            await asks()
        status, html = await page.look(login.user_code, token)
        assert (status, "no machine waits" in problem(html)) == (404, True)


async def test_an_admin_lets_a_machine_in_for_a_new_account(tracker, page):
    ann = await tracker.account("ann")
    async with machine(tracker) as (login, asks):
        status, html = await page.look(login.user_code, ann, account="dora")
        assert (status, "only admins" in problem(html)) == (403, True)
        status, html = await page.look(login.user_code, tracker.admin_token, account="<b>")
        assert status == 422
        assert "<b>" not in html
        _, html = await page.look(login.user_code, tracker.admin_token, account="dora")
        assert "dora (new)" in html
        status, html = await page.decide(html)
        assert status == 200
        assert (await asks()).account == "dora"
    rows = await Accounts(tracker.redis).rows()
    assert next(row.role for row in rows if row.name == "dora") is Role.VOLUNTEER
    [row] = (await (await tracker.admin()).audit(1)).rows
    assert row.after == {"account": "dora", "account_added": True}
    async with machine(tracker) as (login, asks):
        _, html = await page.look(login.user_code, tracker.admin_token, account="dora")
        status, html = await page.decide(html)
        assert (status, "already" in problem(html)) == (409, True)
        with pytest.raises(AuthorizationPending):
            await asks()


async def test_who_may_not_let_machines_in_is_told_why(tracker, page):
    bot = await tracker.account("robo", Role.BOT)
    ann = await tracker.account("ann")
    admin = await tracker.admin()
    narrow = (await admin.add_my_token(NewToken(label="jobs", scopes=("jobs",)))).token
    await tracker.account("eve")
    async with machine(tracker) as (login, _):
        for token, status, word in (
            ("", 401, "not known"),
            ("lw_x_y", 401, "not known"),
            (bot, 403, "bot"),
            (narrow, 403, "a part of"),
        ):
            got, html = await page.look(login.user_code, token)
            assert (got, word in problem(html)) == (status, True), problem(html)
        await Workers(tracker.redis).set_state(
            "ann", None, WorkerState.BANNED, reason="sends noise", by="root"
        )
        got, html = await page.look(login.user_code, ann)
        assert (got, "sends noise" in problem(html)) == (403, True)


async def test_an_account_that_is_revoked_while_the_form_is_open_decides_nothing(tracker, page):
    token = await tracker.account("ann")
    async with machine(tracker) as (login, asks):
        _, html = await page.look(login.user_code, token)
        await (await tracker.admin()).revoke_account("ann")
        status, html = await page.decide(html)
        assert (status, "revoked" in problem(html)) == (403, True)
        with pytest.raises(AuthorizationPending):
            await asks()


async def test_who_is_banned_while_the_form_is_open_decides_nothing(tracker, page):
    root = (await (await tracker.admin()).me()).account
    for name, token, account in (
        ("ann", await tracker.account("ann"), ""),
        (root, tracker.admin_token, "dora"),
    ):
        async with machine(tracker) as (login, asks):
            _, html = await page.look(login.user_code, token, account=account)
            await Workers(tracker.redis).set_state(
                name, None, WorkerState.BANNED, reason="sends noise", by="root"
            )
            status, html = await page.decide(html)
            assert (status, "sends noise" in problem(html)) == (403, True)
            with pytest.raises(AuthorizationPending):
                await asks()


async def test_a_token_that_ends_lets_no_machine_in_for_longer(tracker, page):
    owner = await tracker.client(await tracker.account("ann"))
    brief = await owner.add_my_token(NewToken(label="visit", expires_in=90))
    async with machine(tracker) as (login, asks):
        _, html = await page.look(login.user_code, brief.token)
        await page.decide(html)
        await asks()
    ends = {row.label: row.expires for row in (await owner.my_tokens()).rows}
    assert ends["attic"] == ends["visit"] is not None


async def test_a_token_that_is_found_on_a_machine_lets_no_other_in(tracker, page):
    token = await tracker.account("ann")
    async with machine(tracker) as (login, asks):
        _, html = await page.look(login.user_code, token)
        await page.decide(html)
        found = (await asks()).access_token
    async with machine(tracker) as (login, asks):
        status, html = await page.look(login.user_code, found)
        assert (status, "lets no machine in" in problem(html)) == (403, True)
        with pytest.raises(AuthorizationPending):
            await asks()
        _, html = await page.look(login.user_code, token)
        client = await tracker.client(token)
        [mine] = [row for row in (await client.my_tokens()).rows if row.scopes is None]
        await client.drop_my_token(mine.id)
        status, html = await page.decide(html)
        assert (status, "revoked" in problem(html)) == (401, True)


async def test_no_other_page_can_send_the_forms(tracker, page):
    token = await tracker.account("ann")
    async with machine(tracker) as (login, asks):
        fields = {"step": "look", "user_code": login.user_code, "token": token}
        for site in ("cross-site", "same-site"):
            status, html = await page.send(fields, **{"Sec-Fetch-Site": site})
            assert (status, "another page" in problem(html)) == (403, True)
        _, html = await page.look(login.user_code, token)
        status, _ = await page.decide(html, **{"Sec-Fetch-Site": "cross-site"})
        assert status == 403
        for ticket in ("", "0" * 64):
            fields = {"step": "decide", "ticket": ticket, "decision": "approve"}
            status, wrong = await page.send(fields)
            assert (status, "begin again" in problem(wrong)) == (401, True)
        with pytest.raises(AuthorizationPending):
            await asks()
        assert (await page.decide(html, **{"Sec-Fetch-Site": "same-origin"}))[0] == 200
        assert (await page.decide(html))[0] == 401  # a ticket is good for once


async def test_the_page_runs_nothing_stays_nowhere_and_shows_what_it_was_given_as_text(
    tracker, page
):
    _, html, headers = await page.get("/device?user_code=%22%3E%3Cscript%3E")
    assert "<script" not in html
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    token = await tracker.account("ann")
    async with machine(tracker, client="<img src=x onerror=alert(1)>") as (login, _):
        _, html = await page.look(login.user_code, token)
        assert "<img" not in html
        assert "&lt;img" in html
    status, html = await page.send(b"\xff" * 10)
    assert status == 422
    assert (await page.send({"a": "x" * 5000}))[0] == 422
    assert (await page.get("/device?user_code=" + "x" * 100))[0] == 422


async def test_codes_and_tokens_cannot_be_tried_out_on_the_page(start):
    tracker = await start(rates=Rates(anonymous=Rate(0.01, 3)), trusted_proxies=("127.0.0.0/8",))
    token = await Accounts(tracker.redis).add("ann", Role.VOLUNTEER)
    page = Page(await tracker.raw())
    here = {"X-Forwarded-For": "203.0.113.1"}
    wrong = {"step": "look", "user_code": "BBBB-BBBB", "token": "x"}
    assert [(await page.send(wrong, **here))[0] for _ in range(5)] == [401, 401, 401, 429, 429]
    known = wrong | {"token": token}
    assert [(await page.send(known, **here))[0] for _ in range(12)] == [404] * 10 + [429] * 2
    ticket = {"step": "decide", "ticket": "0" * 64}
    assert (await page.send(ticket, **here))[0] == 429


@pytest.mark.skipif(
    CHROMIUM is None, reason="THE LOGIN PAGE IS NOT SEEN BY A BROWSER: there is no chromium here"
)
async def test_a_person_lets_a_machine_in_with_a_browser_and_no_script(start):
    from playwright.async_api import async_playwright

    tracker = await start(rates=UNLIMITED)
    token = await tracker.account("ann")
    async with machine(tracker) as (login, asks), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            context = await browser.new_context(java_script_enabled=False)
            tab = await context.new_page()
            said = []
            tab.on("console", lambda message: said.append(message.text))
            await tab.goto(login.verification_uri_complete)
            assert await tab.get_by_label("Code on the machine").input_value() == login.user_code
            box = await tab.locator("main").bounding_box()
            assert box["width"] < 700  # the style is taken: its hash is in the policy
            await tab.get_by_label("Token of your account").fill("wrong")
            await tab.get_by_role("button", name="Look").click()
            assert "not known" in await tab.get_by_role("alert").inner_text()
            await tab.get_by_label("Token of your account").fill(token)
            await tab.get_by_role("button", name="Look").click()
            assert await tab.locator("#worker").inner_text() == "attic"
            assert await tab.locator("#account").inner_text() == "ann"
            with pytest.raises(AuthorizationPending):
                await asks()
            await tab.get_by_role("button", name="Yes, let it in").click()
            assert "is let in" in await tab.get_by_role("status").inner_text()
            assert token not in await tab.content()
            assert not [text for text in said if "Content Security Policy" in text]
        finally:
            await browser.close()
