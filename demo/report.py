"""The demo's last words as a table: the truth beside the result."""

from rich.table import Table

from .result import LEAST_PRECISION, LEAST_RECALL, Result


def result_table(result: Result) -> Table:
    """What the site holds, what came out, and a mark where they differ."""
    figures = result.as_json()
    table = Table(title="Truth beside result", title_justify="left")
    table.add_column("")
    for column in ("truth", "result", ""):
        table.add_column(column, justify="right")

    def row(name: str, truth: object, got: object, *, holds: bool | None = None) -> None:
        same = truth == got if holds is None else holds
        table.add_row(name, str(truth), str(got), "" if same else "≠")

    for crawl in result.crawls:
        jobs = crawl.stats.jobs
        row(f"jobs accepted, {crawl.name}", jobs.total, jobs.accepted)
    for name in ("dead", "lost", "duplicated"):
        row(f"jobs {name}", 0, figures[name])
    row("attempts", "", figures["attempts"], holds=True)
    row("jobs reassigned", "≥ 1", result.reassigned, holds=result.reassigned >= 1)
    table.add_section()
    row("pairs", len(result.truth), result.pairs)
    row("kept", sum(pair.matching for pair in result.truth), result.kept, holds=True)
    expected, got = result.expected_drops, result.drops
    for reason in sorted(expected | got, key=lambda reason: -expected[reason]):
        row(f"dropped: {reason.value}", expected[reason], got[reason])
    table.add_section()
    row("precision", f"≥ {LEAST_PRECISION}", f"{result.precision:.4f}",
        holds=result.precision >= LEAST_PRECISION)  # fmt: skip
    row("recall", f"≥ {LEAST_RECALL}", f"{result.recall:.4f}", holds=result.recall >= LEAST_RECALL)
    row("forbidden requests", 0, result.forbidden_requests)
    row("seconds", "", f"{result.seconds:.0f}", holds=True)
    return table
