"""Answers leave in one write, and none is lost when the connection closes."""

import asyncio

from tracker.one_write import OneWrite


class Line(asyncio.Transport):
    """What a kernel would be given, call by call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def write(self, data):
        self.calls.append(bytes(data))

    def close(self):
        self.calls.append("close")

    def is_closing(self):
        return "close" in self.calls


async def test_what_is_written_in_one_step_leaves_in_one_write():
    line = Line()
    transport = OneWrite(line, asyncio.get_running_loop())
    transport.write(b"head ")
    transport.write(b"body")
    assert line.calls == []
    await asyncio.sleep(0)
    transport.write(b"next")
    await asyncio.sleep(0)
    assert line.calls == [b"head body", b"next"]


async def test_a_close_sends_what_waits_first_and_only_once():
    line = Line()
    transport = OneWrite(line, asyncio.get_running_loop())
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert line.calls == [b"last words", "close"]
    assert transport.is_closing()
