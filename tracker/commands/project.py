"""`tracker project …` and `tracker announce | withdraw`: what holds for everybody."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError

from laion_protocol.messages import (
    Maintenance,
    NewAnnouncement,
    Pause,
    ProjectState,
    WorkerVersions,
)
from laion_protocol.wording import problem

from .duration import MOMENT
from .output import Answer, clean, moment, prints
from .session import to_tracker
from .words import REASON

_M = TypeVar("_M", bound=BaseModel)
_reason = click.option(
    "--reason", required=True, type=REASON, help="For the volunteers and the audit log."
)


@click.group()
def project() -> None:
    """Pause and maintenance of the whole project; which worker versions it takes."""


@project.command()
@prints
@to_tracker
def show(call: Callable[..., Any]) -> Answer:
    """How the project stands."""
    return _answer(call(lambda client: client.project()))


@project.command()
@_reason
@prints
@to_tracker
def pause(reason: str, call: Callable[..., Any]) -> Answer:
    """Hand out no jobs at all; workers stop where they are, and keep what they hold."""
    message = _made(Pause, reason=reason)
    return _answer(call(lambda client: client.pause_project(message)))


@project.command()
@prints
@to_tracker
def resume(call: Callable[..., Any]) -> Answer:
    """Hand out jobs again."""
    return _answer(call(lambda client: client.resume_project()))


@project.command()
@click.option("--until", type=MOMENT, help="2h, or a time as 2026-11-23T18:00Z.")
@click.option("--reason", help="For the volunteers and the audit log.")
@click.option("--end", is_flag=True, help="It is over now.")
@prints
@to_tracker
def maintenance(
    until: datetime | None, reason: str | None, end: bool, call: Callable[..., Any]
) -> Answer:
    """Hand out no jobs until a time; what is leased goes on."""
    if end:
        if until or reason:
            raise click.UsageError("--end goes alone")
        return _answer(call(lambda client: client.end_maintenance()))
    if until is None or reason is None:
        raise click.UsageError("say --until and --reason, or --end")
    message = _made(Maintenance, until=until, reason=reason)
    return _answer(call(lambda client: client.set_maintenance(message)))


@project.command("worker-version")
@click.option("--least", help="Older workers must update.")
@click.option("--required-after", type=MOMENT, help="Until then they get jobs, and a notice: 7d.")
@click.option("--recommended", help="Older workers get jobs, and a notice.")
@click.option("--reason", help="For the volunteers and the audit log.")
@click.option("--clear", is_flag=True, help="Take every version again.")
@prints
@to_tracker
def worker_version(
    least: str | None, required_after: datetime | None, recommended: str | None,
    reason: str | None, clear: bool, call: Callable[..., Any],
) -> Answer:  # fmt: skip
    """Which worker versions get jobs."""
    if clear:
        if least or required_after or recommended or reason:
            raise click.UsageError("--clear goes alone")
        return _answer(call(lambda client: client.clear_worker_versions()))
    if least is None or reason is None:
        raise click.UsageError("say --least and --reason, or --clear")
    message = _made(
        WorkerVersions,
        least=least,
        required_after=required_after,
        recommended=recommended,
        reason=reason,
    )
    return _answer(call(lambda client: client.set_worker_versions(message)))


@click.command()
@click.argument("text")
@click.option("--until", type=MOMENT, help="2h, 3d or a time; until it is withdrawn if unset.")
@prints
@to_tracker
def announce(text: str, until: datetime | None, call: Callable[..., Any]) -> Answer:
    """Tell every worker something, once."""
    message = _made(NewAnnouncement, text=text, until=until)
    made = call(lambda client: client.announce(message))
    return Answer(made, [f"announcement {made.id}; `withdraw {made.id}` takes it back"])


@click.command()
@click.argument("number", type=click.IntRange(1))
@prints
@to_tracker
def withdraw(number: int, call: Callable[..., Any]) -> Answer:
    """Tell an announcement to no more workers."""
    call(lambda client: client.withdraw_announcement(number))
    return _answer(call(lambda client: client.project()))


def _made(kind: type[_M], **fields: object) -> _M:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise click.UsageError(problem(error)) from error


def _answer(state: ProjectState) -> Answer:
    return Answer(state, _lines(state))


def _lines(state: ProjectState) -> Iterable[str]:
    if state.paused is not None:
        yield f"paused: {clean(state.paused.reason)}"
    if state.maintenance is not None:
        rest = state.maintenance
        yield f"maintenance until {moment(rest.until)} UTC: {clean(rest.reason)}"
    if state.paused is None and state.maintenance is None:
        yield "hands out jobs"
    if state.worker_versions is not None:
        wanted = state.worker_versions
        after = f" from {moment(wanted.required_after)} UTC on" if wanted.required_after else ""
        advised = f"; {wanted.recommended} is recommended" if wanted.recommended else ""
        yield f"workers need {wanted.least}{after}{advised}: {clean(wanted.reason)}"
    for said in state.announcements:
        end = f" (until {moment(said.until)} UTC)" if said.until else ""
        yield f"announcement {said.id}{end}: {clean(said.text)}"
