"""The baseline of `benchmarks.tracker`: a FastAPI app whose one route does nothing."""

from fastapi import FastAPI

app = FastAPI()


@app.post("/")
async def nothing() -> dict[str, str]:
    """An empty answer."""
    return {}
