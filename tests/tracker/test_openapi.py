"""The running tracker keeps what its OpenAPI document promises, whatever it is sent.

Schemathesis makes requests from the document: such as it allows, and such as it does not. No answer
may be a failure of the tracker, of a status that the document does not name for this call, or of
another shape than it says there. Half of the calls are about a lease, a job, an account that exist.
"""

import asyncio
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from laion_protocol import Role
from laion_protocol.client import TrackerClient
from laion_protocol.messages import Lease, LeaseRequest, NewToken, Requeue
from tests.tracker.running import Tracker
from tracker.identity.rates import UNLIMITED

load_all_checks()
_CHECKS = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
#: Its answer has no end.
_FEED = "/v1/events"
_ANYBODYS = (
    "/healthz", "/readyz", "/metrics", "/v1/stats", "/v1/leaderboard", "/v1/crawls", "/v1/project",
    "/v1/workers/{account}", "/v1/workers/{account}/{worker}", _FEED,
)  # fmt: skip
_FILE = b"a file that recipes name"
_LEASES = 20  #: one for each call about a lease, and some to spare


@dataclass
class There:
    """What calls may be about: leases, each of which some call may end; and what a name in a path
    may stand for."""

    leases: list[str]
    named: dict[str, str | int]

    def path(self, operation: APIOperation) -> dict[str, str | int]:
        known = dict(self.named)
        if "/admin/crawls/" in operation.path:
            known["name"] = "CC-2"
        elif "/admin/accounts/" in operation.path:
            known["name"] = "bea"
        elif "/leases/" in operation.path:
            known["name"] = "shard.parquet"
        if "{lease_id}" in operation.path and self.leases:
            known["lease_id"] = self.leases.pop()
        return {name: value for name, value in known.items() if f"{{{name}}}" in operation.path}


@pytest.fixture
async def tracker(start) -> Tracker:
    """One that takes calls at any rate, and whose leases outlive the test."""
    tracker = await start(rates=UNLIMITED, lease_duration=timedelta(hours=1), max_held=100)
    await tracker.add_crawl("CC-1", files=100)
    await tracker.add_crawl("CC-2")
    return tracker


@pytest.mark.parametrize(("who", "examples"), [(Role.ADMIN, 3), (Role.VOLUNTEER, 2), (None, 1)])
async def test_every_answer_is_one_that_the_document_tells(tracker, tmp_path, who, examples):
    await _call_everything(tracker, tmp_path, who, examples)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("who", [Role.ADMIN, Role.MODERATOR, Role.BOT, Role.VOLUNTEER, None])
async def test_so_is_every_answer_to_many_more_calls(tracker, tmp_path, who):
    await _call_everything(tracker, tmp_path, who, 150)


async def test_only_these_calls_need_no_token(tracker):
    session = await tracker.raw()
    async with session.get("/openapi.json") as answer:
        calls = [
            (method.upper(), path, call)
            for path, methods in (await answer.json())["paths"].items()
            for method, call in methods.items()
        ]
    open_ = {(method, path) for method, path, call in calls if "security" not in call}
    assert open_ == {("GET", path) for path in _ANYBODYS} | {
        ("POST", "/v1/device"),
        ("POST", "/v1/device/token"),
    }
    for method, path, call in calls:
        if "security" in call:
            assert {"401", "403"} <= call["responses"].keys(), path
            async with session.request(method, re.sub(r"{\w+}", "1", path)) as answer:
                assert (answer.status, (await answer.json())["error"]) == (401, "unauthorized"), (
                    path
                )


async def test_the_feed_begins_as_the_document_tells(tracker):
    session = await tracker.raw()
    async with session.get("/openapi.json") as answer:
        told = (await answer.json())["paths"][_FEED]["get"]["responses"]
    for query, status in (("", 200), ("?after=x", 422)):
        async with session.get(_FEED + query) as answer:
            assert answer.status == status
            assert list(told[str(status)]["content"]) == [answer.content_type]


async def _call_everything(
    tracker: Tracker, tmp_path: Path, who: Role | None, examples: int
) -> None:
    token = None if who is None else await tracker.account("ann", who)
    there = await _make(tracker, tmp_path, None if who is Role.BOT else token)

    problems = await asyncio.to_thread(lambda: list(_problems(tracker.url, token, there, examples)))

    assert not problems, "\n\n".join(problems)


async def _make(tracker: Tracker, tmp_path: Path, token: str | None) -> There:
    """What an admin does is done to `bea`, so that the caller stays who they are."""
    path, sha256 = tmp_path / "file", hashlib.sha256(_FILE).hexdigest()
    path.write_bytes(_FILE)
    admin = await tracker.admin()
    await admin.put_file(sha256, path)
    taken = await _lease(await tracker.client(await tracker.account("bea")))
    action = (await admin.requeue(Requeue(jobs=(taken.job,), reason="to be undone"))).action
    token_id = (await admin.add_account_token("bea", NewToken(label="spare"))).id
    leases = []
    if token is not None:
        own = await tracker.client(token)
        leases = [(await _lease(own)).lease_id for _ in range(_LEASES)]
    crawl, _, index = taken.job.partition("/")
    return There(
        leases,
        {
            "account": "bea", "worker": "pc", "crawl": crawl, "index": int(index), "number": 1,
            "action": action, "token_id": token_id, "sha256": sha256, "verb": "drain",
        },
    )  # fmt: skip


async def _lease(client: TrackerClient) -> Lease:
    answer = await client.lease(LeaseRequest(worker="pc", version="0.1.0"))
    assert answer.lease is not None, answer.idle
    return answer.lease


def _problems(url: str, token: str | None, there: There, examples: int) -> Iterator[str]:
    """For each call that can be answered wrongly, how."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [result.ok() for result in schema.exclude(path=_FEED).get_all_operations()]
    assert len(operations) > 60
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    # what removes things comes last
    for operation in sorted(operations, key=lambda operation: operation.method == "delete"):
        with requests.Session() as session:
            session.headers.update(headers)
            problem = _problem(operation, session, there, examples)
            if problem is not None:
                yield problem


def _problem(
    operation: APIOperation, session: requests.Session, there: There, examples: int
) -> str | None:
    cases = operation.as_strategy(path_parameters=there.path(operation))
    for mode in GenerationMode:
        cases |= operation.as_strategy(mode)
    last = ""

    @given(case=cases)
    @hypothesis_settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    def send(case: Case) -> None:
        nonlocal last
        answer = case.call(session=session, timeout=20)
        last = f"{answer.status_code} {answer.text[:300]}\n{case.as_curl_command()[:2000]}"
        case.validate_response(answer, checks=_CHECKS)

    try:
        send()
    except FailureGroup as group:
        return "\n".join([operation.label, *map(str, group.exceptions), last])
    return None
