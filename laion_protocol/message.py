"""`Message`: the base of everything that crosses the wire."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Readers ignore fields they do not know, so a newer peer can add some.

    JSON has no word for infinity: one that came in by `1e999` would go out as null, which nobody
    can read back.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
