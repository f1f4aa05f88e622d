"""Names and ids, as they stand in URLs and messages."""

from typing import Annotated

from pydantic import Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Reason = Annotated[str, Field(min_length=1, max_length=500)]
#: `<crawl>~<job index>~<32 hex>`: the 128 random bits are the fencing token, the rest an address
LeaseId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}~\d{1,12}~[0-9a-f]{32}$")]
#: `<crawl>/<job index>`
JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}/\d{1,12}$")]
