"""`Message`: the base of everything that crosses the wire."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Readers ignore fields they do not know, so a newer peer can add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")
