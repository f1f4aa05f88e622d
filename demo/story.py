"""The demo's story: three volunteers crawl, and one is struck down in the middle of a job."""

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from bot.console import render_text
from laion_protocol import SourceKind, TrackerError
from laion_protocol.client import NotATracker, TrackerClient
from laion_protocol.messages import OpenJob, Stats

from .archives import warc_paths, wat_paths, write_archives
from .children import ChildFailed
from .project import Project, Volunteer
from .result import Result, read_crawl
from .site import Site, plan_site
from .trap import Trap, listen_on_ipv6_too, listen_on_loopback
from .truth import Truth
from .watcher import Watcher
from .web import Web

#: What each one's worker does of a job.
_VOLUNTEERS = {"alice": "hybrid,score", "bob": "hybrid,score", "carol": "fetch"}
#: the feed from its first event on
BEGINNING = "0"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    warc_pages: int
    wat_pages: int
    pictures_per_page: int
    slow: int  #: pictures that cost a worker a transfer deadline each
    files: int
    parts: int
    wat_parts: int
    lease_seconds: int
    timeout: float  #: seconds after which the demo gives up
    card_every: float  #: seconds between two cards on the console
    kill_after: int  #: a worker is killed when so many shards were accepted
    restart: bool  #: whether the killed worker comes back


FULL = Scale(
    warc_pages=300, wat_pages=60, pictures_per_page=10, slow=4, files=3, parts=4, wat_parts=2,
    lease_seconds=10, timeout=480.0, card_every=10.0, kill_after=2, restart=True,
)  # fmt: skip
SMALL = Scale(
    warc_pages=27, wat_pages=9, pictures_per_page=10, slow=2, files=1, parts=3, wat_parts=1,
    lease_seconds=5, timeout=240.0, card_every=10.0, kill_after=0, restart=False,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Crawl:
    """One crawl of the demo, and the truth about it."""

    name: str
    kind: SourceKind
    paths: tuple[str, ...]
    parts: int
    truth: tuple[Truth, ...]


class Story:
    """One run of the demo. `run` tells it on the console, and gives what came of it.

    Raises:
        ChildFailed: a part ended, refused, or did not get done in time.
    """

    def __init__(self, scale: Scale, directory: Path, console: Console) -> None:
        self._scale = scale
        self._directory = directory
        self._archives = directory / "archives"
        self._console = console
        self._watcher = Watcher()

    async def run(self) -> Result:
        """From an empty directory to the last accepted shard."""
        begun = time.monotonic()
        async with AsyncExitStack() as stack:
            web, trap = await self._open_web(stack)
            crawls = self._write_archives(web.site)
            project = await stack.enter_async_context(
                Project(self._directory, lease_seconds=self._scale.lease_seconds)
            )
            try:
                async with asyncio.timeout(self._scale.timeout):
                    stats, shards = await self._crawl(project, web, crawls, stack)
            except TimeoutError as error:
                limit = self._scale.timeout
                message = f"the crawls are not finished after {limit:g} s"
                raise ChildFailed(self._with_logs(message, project)) from error
            except (ChildFailed, TrackerError, NotATracker) as error:
                raise ChildFailed(self._with_logs(str(error), project)) from error
            by_name = {crawl.name: crawl for crawl in stats.crawls}
            return Result(
                crawls=tuple(read_crawl(by_name[c.name], c.truth, shards) for c in crawls),
                reassigned=self._watcher.reassigned(),
                forbidden_requests=web.forbidden_requests + trap.connections,
                seconds=time.monotonic() - begun,
            )

    async def _open_web(self, stack: AsyncExitStack) -> tuple[Web, Trap]:
        scale = self._scale
        listener, trapped = listen_on_loopback(), listen_on_loopback()
        trap_port = trapped.getsockname()[1]
        site = plan_site(
            pages=scale.warc_pages + scale.wat_pages,
            pictures_per_page=scale.pictures_per_page,
            slow=scale.slow,
            web_port=listener.getsockname()[1],
            trap_port=trap_port,
        )
        trap = await stack.enter_async_context(Trap([trapped, *listen_on_ipv6_too(trap_port)]))
        web = await stack.enter_async_context(Web(site, listener, self._archives))
        self._say(
            f"The web: {len(site.pages)} pages, {len(site.resources):,} pictures and troubles, "
            f"on port {site.web_port}; a trap on port {trap_port}."
        )
        return web, trap

    def _write_archives(self, site: Site) -> tuple[Crawl, Crawl]:
        scale = self._scale
        for_warc, for_wat = site.pages[: scale.warc_pages], site.pages[scale.warc_pages :]
        write_archives(for_warc, self._archives / "deep", files=scale.files)
        write_archives(for_wat, self._archives / "cheap", files=1)
        deep = Crawl(
            "deep", SourceKind.WARC, warc_paths(scale.files), scale.parts,
            tuple(pair for page in for_warc for pair in page.pairs),
        )  # fmt: skip
        cheap = Crawl(
            "cheap", SourceKind.WAT, wat_paths(1), scale.wat_parts,
            tuple(pair for page in for_wat for pair in page.pairs_in_wat),
        )  # fmt: skip
        return deep, cheap

    async def _crawl(
        self, project: Project, web: Web, crawls: tuple[Crawl, ...], stack: AsyncExitStack
    ) -> tuple[Stats, Path]:
        await project.start_tracker()
        self._say(f"The tracker serves {project.url}, with a Redis of its own.")
        tracker = await stack.enter_async_context(
            TrackerClient(project.url, project.admin_token, patience=10)
        )
        following = asyncio.create_task(self._watcher.follow(tracker, after=BEGINNING))
        try:
            volunteers = await self._begin(project, web, crawls)
            await self._strike_down(volunteers, tracker, project)
            return await self._until_finished(tracker, project), project.shards
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    async def _begin(
        self, project: Project, web: Web, crawls: tuple[Crawl, ...]
    ) -> list[Volunteer]:
        """An admin adds the crawls while three volunteers come."""
        reach = f"127.0.0.1:{web.site.web_port}"
        try:
            async with asyncio.TaskGroup() as group:
                for crawl in crawls:
                    base = f"{web.archives_url}{crawl.name}/"
                    group.create_task(
                        project.add_crawl(
                            crawl.name, crawl.kind, base, crawl.paths, parts=crawl.parts
                        )
                    )
                coming = [
                    group.create_task(project.add_volunteer(name, web=reach, stages=stages))
                    for name, stages in _VOLUNTEERS.items()
                ]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        for crawl in crawls:
            self._say(f"Crawl {crawl.name!r} is added; it reads {crawl.kind.value.upper()} files.")
        self._say("Alice and Bob lend their computers; Carol's has no model, it only fetches.")
        return [task.result() for task in coming]

    async def _strike_down(
        self, volunteers: list[Volunteer], tracker: TrackerClient, project: Project
    ) -> None:
        """Kill a worker in the middle of a job, and see another one do that job."""
        while self._watcher.accepted() < self._scale.kill_after:
            project.check()
            await self._show(tracker)
            await self._watcher.news(within=self._scale.card_every)
        job = await self._one_under_way(tracker, project)
        victim = next(v for v in volunteers if v.account == job.account)
        await victim.worker.kill()
        done = job.progress
        self._say(
            f"[bold red]kill -9[/] to {victim.account}'s worker in job {job.job} "
            f"({done.stage or 'started'}: {done.pairs} pairs, {done.downloaded} downloaded)."
        )
        while job.job not in self._watcher.expired(victim.account):
            project.check()
            await self._watcher.news(within=1)
        self._say(f"The lease of {job.job} ran out; the job waits for another worker.")
        while (account := self._watcher.done_by(job.job)) is None:
            project.check()
            held = await tracker.stale_jobs(silent_for=timedelta(0))
            taken = next((h.account for h in held.jobs if h.job == job.job), None)
            if taken is None:
                await self._watcher.news(within=0.5)
                continue
            if self._scale.restart and not victim.worker.running:
                self._say(f"{taken}'s worker has taken it over.")
                await victim.worker.start()
                self._say(f"{victim.account}'s worker is started again.")
            await self._show(tracker)
            await self._watcher.news(within=self._scale.card_every)
        self._say(f"[bold green]{job.job} was done by {account}.[/]")

    async def _one_under_way(self, tracker: TrackerClient, project: Project) -> OpenJob:
        """A leased job that has got somewhere: killing its worker loses work.

        Never Carol's: hers is the only one that fetches for others.
        """
        while True:
            project.check()
            held = await tracker.stale_jobs(silent_for=timedelta(0))
            for job in held.jobs:
                if job.progress.downloaded and "score" in _VOLUNTEERS[job.account]:
                    return job
            await asyncio.sleep(0.2)

    async def _until_finished(self, tracker: TrackerClient, project: Project) -> Stats:
        while True:
            project.check()
            stats = await self._show(tracker)
            if all(c.jobs.accepted + c.jobs.dead == c.jobs.total for c in stats.crawls):
                return stats
            await asyncio.sleep(1)
            await self._watcher.news(within=self._scale.card_every)

    async def _show(self, tracker: TrackerClient) -> Stats:
        """The bot's card, as a terminal shows it."""
        stats = await tracker.stats()
        self._console.print()
        self._console.print(render_text(stats, self._watcher.events), markup=False)
        return stats

    def _say(self, line: str) -> None:
        self._console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {line}", highlight=False)

    def _with_logs(self, message: str, project: Project) -> str:
        tails = "\n".join(f"--- {child.log.name} ---\n{child.tail()}" for child in project.children)
        return f"{message}\n{tails}"
