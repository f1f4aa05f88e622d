"""An S3 server: moto's, which believes everything, and a door before it that is as strict as S3.

moto checks no signature, no size and no checksum. `StrictS3` checks what a presigned URL binds, by
the rules of Signature Version 4 and not with the signer's own code, then lets the request through.
"""

import base64
import hashlib
import hmac
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from urllib.parse import parse_qsl, quote

import aiohttp
from aiohttp import web
from yarl import URL

KEY_ID, SECRET = "AKIATESTS", "s3-secret-of-the-tests"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "eu-test-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@contextmanager
def running_moto():
    """The server's URL; it takes a free port and says which."""
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=said, stderr=said) as process,
    ):
        try:
            yield _told(process, said)
        finally:
            process.terminate()


def _told(process: "subprocess.Popen[bytes]", said: BinaryIO) -> str:
    end = time.monotonic() + 60
    while True:
        said.seek(0)
        words = said.read()
        if found := re.search(rb"Running on (http://127\.0\.0\.1:[0-9]+)", words):
            return found[1].decode()
        assert process.poll() is None and time.monotonic() < end, words.decode()  # noqa: PT018
        time.sleep(0.02)


class StrictS3:
    """The door. `heads` tells what came, `refused` what it turned away."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self.refused: list[str] = []
        self.heads: list[tuple[str, str, dict[str, str]]] = []

    @asynccontextmanager
    async def running(self):
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as self._session:
                yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.heads.append((request.method, request.path, dict(request.headers)))
        body = await request.read()
        code = self._trouble(request, body)
        if code:
            self.refused.append(code)
            return web.Response(
                status=400 if "Checksum" in code else 403,
                text=f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>",
            )
        url = URL(self._behind + request.raw_path, encoded=True)
        headers = {n: v for n, v in request.headers.items() if n.lower() not in ("host",)}
        async with self._session.request(
            request.method, url, data=io.BytesIO(body) if body else None, headers=headers
        ) as answer:
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in ("transfer-encoding", "connection", "server", "date")
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    def _trouble(self, request: web.Request, body: bytes) -> str:
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        if "X-Amz-Signature" not in query:  # the tracker's own requests are signed in a header
            return "" if "Authorization" in request.headers else "AccessDenied"
        signature = query.pop("X-Amz-Signature")
        begun = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if datetime.now(UTC) > begun + timedelta(seconds=int(query["X-Amz-Expires"])):
            return "AccessDenied"
        signed = query["X-Amz-SignedHeaders"].split(";")
        if not hmac.compare_digest(signature, _signature(request, query, signed)):
            return "SignatureDoesNotMatch"
        if any(n.lower().startswith("x-amz-") and n.lower() not in signed for n in request.headers):
            return "AccessDenied"
        claimed = request.headers.get("x-amz-checksum-sha256")
        actual = base64.b64encode(hashlib.sha256(body).digest()).decode()
        return "XAmzContentChecksumMismatch" if claimed and claimed != actual else ""


def _signature(request: web.Request, query: dict[str, str], signed: list[str]) -> str:
    """Amazon's description, step by step."""
    canonical = "\n".join(
        [
            request.method,
            request.rel_url.raw_path,
            "&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in sorted(query.items())),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in signed),
            "",
            ";".join(signed),
            "UNSIGNED-PAYLOAD",
        ]
    )
    _, *scope = query["X-Amz-Credential"].split("/")
    text = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            query["X-Amz-Date"],
            "/".join(scope),
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{SECRET}".encode()
    for part in [*scope, text]:
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


async def make_bucket(endpoint: str, name: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{endpoint}/{name}") as answer,
    ):
        assert answer.status == 200, await answer.text()
