"""The fast heartbeat gives the answers of the documented one, whatever is sent."""

import re

import pytest

from laion_protocol import Role
from laion_protocol.messages import LeaseRequest
from tracker.routes import beats

WELL = '{"progress": {"stage": "download", "pairs": 3}}'


async def test_both_heartbeats_answer_alike(start, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = await start()
    monkeypatch.setattr(beats, "_PATH", re.compile("never"))
    documented = await start()
    await fast.add_crawl()
    token = await fast.account("ann")
    client = await fast.client(token)
    lease = (await client.lease(LeaseRequest(worker="pc", version="0.1.0"))).lease
    assert lease is not None
    lost = lease.lease_id[:-1] + ("0" if lease.lease_id[-1] != "0" else "1")
    robot = await fast.account("robot", Role.BOT)
    calls = [
        (lease.lease_id, token, WELL),
        (lease.lease_id, token, "{}"),
        (lease.lease_id, token, ""),
        (lease.lease_id, token, "nonsense"),
        (lease.lease_id, token, '{"progress": {"pairs": -1}}'),
        (lease.lease_id, token, '{"progres": {}}'),
        ("no-lease", token, WELL),
        (lost, token, WELL),
        (lease.lease_id, "", WELL),
        (lease.lease_id, "lw_wrong_token", WELL),
        (lease.lease_id, robot, WELL),
    ]
    statuses = []
    for lease_id, by, body in calls:
        answers = []
        for tracker in (fast, documented):
            raw = await tracker.raw()
            headers = {"Content-Type": "application/json", "Laion-Worker": "pc"}
            if by:
                headers["Authorization"] = f"Bearer {by}"
            url = f"/v1/leases/{lease_id}/heartbeat"
            async with raw.post(url, data=body, headers=headers) as response:
                said = await response.json()
                assert said.pop("deadline", "") or response.status != 200
                if response.status == 422:
                    said.pop("message")  # FastAPI words its own
                answers.append((response.status, response.content_type, said))
        assert answers[0] == answers[1], (lease_id, by, body)
        statuses.append(answers[0][0])
    assert statuses == [200, 200, 422, 422, 422, 200, 422, 409, 401, 401, 403]


async def test_a_heartbeat_is_metered_under_its_route(start) -> None:
    raw = await (await start()).raw()
    async with raw.post("/v1/leases/x/heartbeat", data=WELL):
        pass
    async with raw.get("/metrics") as response:
        assert "/v1/leases/{lease_id}/heartbeat" in await response.text()


async def test_a_get_of_the_heartbeats_path_is_no_such_route(start) -> None:
    raw = await (await start()).raw()
    async with raw.get("/v1/leases/x/heartbeat") as response:
        assert response.status == 405
        assert (await response.json())["error"]
