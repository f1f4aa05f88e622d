"""`Calls`: requests and answers as messages, over a `Transport`."""

import secrets
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Self, TypeVar

from pydantic import ValidationError

from .message import Message
from .transport import NotATracker, Transport

Answer = TypeVar("Answer", bound=Message)


class Calls:
    """A session that sends messages and parses answers; the base of `TrackerClient`."""

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        user_agent: str = "laion-worker",
        patience: float = 60.0,
        timeout: float = 60.0,
        worker: str | None = None,
    ) -> None:
        self._http = Transport(
            base_url, token, user_agent=user_agent, patience=patience, timeout=timeout,
            worker=worker,
        )  # fmt: skip
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exit.enter_async_context(self._http)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._exit.aclose()

    async def _get(
        self,
        path: str,
        answer: type[Answer],
        *,
        params: dict[str, str] | None = None,
        token: str | None = None,
    ) -> Answer:
        return parsed(answer, await self._http.call("GET", path, params=params, token=token))

    async def _post(
        self,
        path: str,
        message: Message,
        answer: type[Answer],
        *,
        token: str | None = None,
        key: str | None = None,
        repeatable: bool = True,
        patience: float | None = None,
    ) -> Answer:
        return await self._send(
            "POST", path, answer, message=message, token=token, key=key,
            repeatable=repeatable, patience=patience,
        )  # fmt: skip

    async def _send(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        message: Message | None = None,
        token: str | None = None,
        key: str | None = None,
        repeatable: bool = True,
        patience: float | None = None,
    ) -> Answer:
        headers = {} if message is None else {"Content-Type": "application/json"}
        if key is not None:  # what is sent again under it is done once
            headers["Idempotency-Key"] = key
        body = None if message is None else message.model_dump_json().encode()
        raw = await self._http.call(
            method, path, body=None if body is None else lambda: BytesIO(body),
            headers=headers or None, token=token, repeatable=repeatable, patience=patience,
        )  # fmt: skip
        return parsed(answer, raw)


def new_key() -> str:
    """An idempotency key for one call: its answer may be lost, and the call sent again."""
    return secrets.token_hex(16)


def parsed(answer: type[Answer], raw: bytes) -> Answer:
    """The answer as a message.

    Raises:
        NotATracker: it is not one.
    """
    try:
        return answer.model_validate_json(raw)
    except ValidationError as error:
        raise NotATracker(
            f"the answer is not the {answer.__name__} that a tracker of this version sends "
            f"({error.error_count()} fields differ); check the address and the versions"
        ) from error
