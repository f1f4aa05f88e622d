"""Small real shards, good ones and bad ones."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from laion_protocol import Counts, DropReason, FileEntry, Manifest, Recipe, SourceDigest
from laion_protocol.shard_format import COLUMNS, EMBEDDINGS_FILE, SHARD_FILE


def sample_id(url: str, text: str) -> int:
    digest = hashlib.sha256(f"{url}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def row(number: int, **changes) -> dict:
    url = changes.get("URL", f"https://example.org/{number:04}.jpg")
    text = changes.get("TEXT", f"picture number {number}")
    return {
        "SAMPLE_ID": sample_id(url, text),
        "URL": url,
        "TEXT": text,
        "LICENSE": "",
        "NSFW": "UNLIKELY",
        "similarity": 0.3,
        "WIDTH": 640,
        "HEIGHT": 480,
        "LANGUAGE": "en",
        "page_url": "https://example.org/",
        "mime": "image/jpeg",
        "bytes": 30_000,
        "md5": "0" * 32,
        "sha256": "f" * 64,
        "source": "img",
    } | changes


SCHEMA = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])


def write_parquet(path: Path, rows: list[dict], schema: pa.Schema = SCHEMA, **options) -> None:
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, path, compression="zstd", **options)


def entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(name=path.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


@dataclass
class Shard:
    directory: Path
    manifest: Manifest

    @property
    def files(self) -> tuple[FileEntry, ...]:
        return self.manifest.files


def make_shard(
    directory: Path,
    recipe: Recipe,
    rows: list[dict] | None = None,
    *,
    lease=None,
    kept: int | None = None,
    vectors: np.ndarray | None = None,
    write=write_parquet,
) -> Shard:
    """A shard on disk with its manifest; for `lease`, if one is given."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [row(number) for number in range(5)] if rows is None else rows
    write(directory / SHARD_FILE, rows)
    files = [entry(directory / SHARD_FILE)]
    if vectors is not None:
        np.save(directory / EMBEDDINGS_FILE, vectors)
        files.append(entry(directory / EMBEDDINGS_FILE))
    kept = len(rows) if kept is None else kept
    manifest = Manifest(
        recipe_sha256=recipe.sha256,
        worker_version="0.1.0",
        filter_version="1",
        model_sha256="a" * 64,
        source=SourceDigest(
            path=lease.source if lease else "warc/0.warc.gz",
            part=lease.part if lease else 0,
            parts=lease.parts if lease else 1,
            first_byte=0,
            end_byte=1000,
            pairs_sha256="b" * 64,
        ),
        counts=Counts(
            records=20, pages=4, pairs=kept + 2, kept=kept, drops={DropReason.TIMEOUT: 2}
        ),
        files=tuple(files),
        seconds=1.5,
    )
    return Shard(directory, manifest)
