"""The shard's parquet file, as data: the worker writes it, the tracker verifies it.

The capital names are LAION-400M's and LAION-5B's; WIDTH and HEIGHT are those of the original
picture, and really in this order (LAION's are swapped in part of its releases).
"""

from typing import Final

#: column -> Arrow type alias (`pyarrow.type_for_alias`), in file order
COLUMNS: Final[dict[str, str]] = {
    "SAMPLE_ID": "int64",  # first 63 bits of SHA-256 over URL, newline, TEXT
    "URL": "string",
    "TEXT": "string",
    "LICENSE": "string",  # a Creative Commons licence URL found on the page, "" without one
    "NSFW": "string",  # UNLIKELY | UNSURE | NSFW | UNTAGGED
    "similarity": "float32",
    "WIDTH": "int32",
    "HEIGHT": "int32",
    "LANGUAGE": "string",  # ISO 639-1 as CLD2 tells it, "un" when it cannot
    "page_url": "string",
    "mime": "string",  # by the bytes, not by the server's word
    "bytes": "int32",
    "md5": "string",  # of the original bytes, hex: what block lists and LAION's revisions use
    "sha256": "string",
    "source": "string",  # img | srcset | lazy | picture: where on the page the URL stood
}

SHARD_FILE: Final = "shard.parquet"
EMBEDDINGS_FILE: Final = "image_embeddings.npy"

#: What a fetch stage hands in for a score stage: one row a sample, with every column that needs no
#: model, and the pictures, resized for the model, in tars (see `picture_tar`), in any order.
FETCHED_COLUMNS: Final = {
    name: kind for name, kind in COLUMNS.items() if name not in ("NSFW", "similarity")
}
INTERMEDIATE_FILE: Final = "fetched.parquet"
IMAGES_FILE: Final = "images.tar"

#: A shard is a list of files of at most this size, so that a broken upload resumes file by file.
MAX_FILE_BYTES: Final = 32 * 2**20
MAX_FILES: Final = 64
FILE_NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,63}$"
