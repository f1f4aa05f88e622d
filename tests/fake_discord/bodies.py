"""Request bodies: JSON, or multipart with files."""

import json
import re

from aiohttp import web

from .messages import Upload
from .wire import Json


async def read_body(request: web.Request) -> Json:
    """The JSON of a request; files of a multipart one hang on their attachments as `upload`."""
    if request.content_type != "multipart/form-data":
        body: Json = await request.json() if request.body_exists else {}
        return body
    data: Json = {}
    uploads: dict[str, Upload] = {}
    for key, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            number = re.fullmatch(r"files\[(\d+)\]", key)
            if number:
                content = value.file.read()
                uploads[number[1]] = Upload(value.filename, content, value.content_type)
        elif key == "payload_json":
            data = json.loads(str(value))
    for attachment in data.get("data", data).get("attachments", []):
        if str(attachment["id"]) in uploads:
            attachment["upload"] = uploads[str(attachment["id"])]
    return data
