"""Numbers that anyone may read."""

from fastapi import APIRouter, Depends

from laion_protocol.messages import CrawlStats, Leaderboard, Stats
from tracker.auth import Have, anyone

from .errors import refusals

router = APIRouter(
    prefix="/v1", tags=["stats"], dependencies=[Depends(anyone)], responses=refusals()
)


@router.get("/stats")
async def stats(have: Have) -> Stats:
    """Progress of every crawl, and how many take part."""
    return await have.statistics.overview(await have.accounts.count())


@router.get("/leaderboard")
async def leaderboard(have: Have) -> Leaderboard:
    """Accounts by kept samples of their accepted shards."""
    return await have.statistics.leaderboard()


@router.get("/crawls")
async def crawls(have: Have) -> tuple[CrawlStats, ...]:
    """Every crawl with its counts, in the order in which they were added."""
    return await have.statistics.crawls()
