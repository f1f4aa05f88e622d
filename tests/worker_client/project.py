"""A running tracker with one crawl over little archives, and a worker for it, all real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis

from laion_protocol import Role
from laion_protocol.client import TrackerClient
from laion_protocol.messages import CrawlStats, NewCrawl
from tests.tracker.running import Tracker, serving
from tests.worker_client.little_web import little_recipe, options_for, write_archive
from tests.worker_client.replay_server import ReplayServer
from tests.worker_client.tiny_clip import make_tiny_clip
from tracker.identity import Accounts
from tracker.settings import Settings
from worker_client.interrupt import Interrupt
from worker_client.meter import Meter
from worker_client.news import News
from worker_client.progress import PlainReport
from worker_client.runner import Runner
from worker_client.settings import WorkerSettings
from worker_client.state import StateDirectory


class Said(PlainReport):
    """A report that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, sentence: str) -> None:
        self.lines.append(sentence)

    def watching(self, meter: Meter, what: str):
        from contextlib import nullcontext

        return nullcontext()

    def __contains__(self, words: str) -> bool:
        return any(words in line for line in self.lines)


@dataclass
class Project:
    tracker: Tracker
    settings: WorkerSettings
    archives: list[Path]
    server: ReplayServer
    said: Said = field(default_factory=Said)
    runner: Runner = field(init=False)
    interrupt: Interrupt = field(init=False)
    state: StateDirectory = field(init=False)

    async def run(self, **changes) -> None:
        """One worker's life."""
        settings = replace(self.settings, **changes)
        self.interrupt = Interrupt(self.said)
        self.state = StateDirectory(settings.state, settings.tracker)
        with self.state.locked():
            async with TrackerClient(settings.tracker, settings.token, patience=0) as client:
                self.runner = Runner(client, settings, self.state, self.said, self.interrupt)
                await self.runner.run()

    @property
    def news(self) -> News:
        return News(self.settings.state.with_name("announced"), self.said)

    async def worker_client(self) -> TrackerClient:
        return await self.tracker.client(self.settings.token)

    async def stats(self) -> CrawlStats:
        (crawl,) = (await (await self.tracker.admin()).stats()).crawls
        return crawl


async def accepted(p: Project, count: int) -> None:
    """Return when the tracker has accepted so many jobs."""
    async with asyncio.timeout(40):
        while (await p.stats()).jobs.accepted != count:  # noqa: ASYNC110 (another process does it)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def project(
    redis: Redis,
    redis_url: str,
    directory: Path,
    *,
    server: type[ReplayServer] = ReplayServer,
    files: int = 1,
    lease_duration: float = 30,
    checkers: int = 0,
    recipe: dict | None = None,
) -> AsyncIterator[Project]:
    settings = Settings(
        data=directory / "data",
        redis_url=redis_url,
        lease_duration=timedelta(seconds=lease_duration),
        idle_retry=timedelta(seconds=0.2),
        reap_every=timedelta(seconds=0.2),
        min_free_bytes=0,
        checkers=checkers,
        dedupe_settle=timedelta(0),
    )
    archives = [write_archive(directory / f"{n}.warc.gz") for n in range(files)]
    spec, model = make_tiny_clip(directory)
    async with AsyncExitStack() as exit:
        url = await exit.enter_async_context(serving(settings))
        sessions = await exit.enter_async_context(AsyncExitStack())
        token = await Accounts(redis).add("root", Role.ADMIN)
        tracker = Tracker(url, settings, redis, token, sessions)
        admin = await tracker.admin()
        for sha256, path in (
            (spec.config_sha256, model.config),
            (spec.weights_sha256, model.weights),
        ):
            await admin.put_file(sha256, path)
        await admin.add_crawl(
            NewCrawl(
                name="CC-1",
                base=str(directory) + "/",
                paths=tuple(path.name for path in archives),
                recipe=little_recipe(spec, **(recipe or {})),
                seed=1,
            )
        )
        web = exit.enter_context(server(archives[0]))
        worker = WorkerSettings(
            tracker=url,
            token=await tracker.account("ann"),
            worker="box",
            state=directory / "state",
            options=options_for(web.endpoint),
            most_jobs=1,
            pause=0.05,
            local_sources=directory,
        )
        yield Project(tracker, worker, archives, web)
