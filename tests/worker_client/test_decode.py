"""The decoder's processes: what each picture comes to, and that none takes others down with it."""

import functools
import gc
import hashlib
import io
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laion_protocol import DropReason, Recipe, SourceKind
from worker_client.pipeline.confined.wire import Answer, Guards, Rules, Verdict
from worker_client.pipeline.decode import Decoder, _Batch
from worker_client.pipeline.decode_process import DecodeProcess, DecoderDied, DecoderUnavailable
from worker_client.samples import Decoded, Dropped, Fetched, Pair

SIZE = 32
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def recipe(**changes):
    return Recipe(kind=SourceKind.WAT, min_image_bytes=0, **{"min_side": 16, **changes})


def fetched(body, name="x"):
    return Fetched(Pair(f"http://example.org/{name}", "a text", ""), body)


def picture(format="PNG", size=(64, 48), mode="RGB", **options):
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


@functools.cache
def flat(size, mode="RGB"):
    """A large picture in few bytes."""
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def decoder():
    with Decoder(recipe(max_pixels=10_000), SIZE, processes=1) as running:
        yield running


def decode_one(decoder, body):
    (item,) = decoder.decode([fetched(body)])
    return item


def verdict(decoder, body):
    item = decode_one(decoder, body)
    return item.reason if isinstance(item, Dropped) else item.mime


def test_a_picture_comes_out_as_the_model_wants_it(decoder):
    body = picture("JPEG", size=(64, 48))
    item = decode_one(decoder, body)
    assert isinstance(item, Decoded)
    assert item.pixels.shape == (SIZE, SIZE, 3)
    assert item.pixels.dtype == np.uint8
    assert item.pixels.flags.writeable  # torch refuses to wrap what is not
    assert (item.width, item.height) == (64, 48)
    assert item.mime == "image/jpeg"
    assert item.bytes == len(body)
    assert item.md5 == hashlib.md5(body).hexdigest()
    assert item.sha256 == hashlib.sha256(body).hexdigest()


def test_width_and_height_are_the_stored_ones_when_exif_turns_the_picture(decoder):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    item = decode_one(decoder, picture("JPEG", size=(64, 48), exif=exif))
    assert (item.width, item.height) == (64, 48)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (picture("JPEG"), "image/jpeg"),
        (picture("PNG"), "image/png"),
        (picture("WEBP"), "image/webp"),
        (picture("GIF", mode="P"), "image/gif"),
        (picture("JPEG", mode="CMYK"), "image/jpeg"),
        (picture("JPEG", mode="L"), "image/jpeg"),
        (picture("PNG", mode="I;16"), "image/png"),
        (picture("PNG", mode="1"), "image/png"),
        (picture("BMP"), DropReason.FORMAT_REFUSED),
        (picture("TIFF"), DropReason.FORMAT_REFUSED),
        (picture("ICO"), DropReason.FORMAT_REFUSED),
        (picture("AVIF"), DropReason.FORMAT_REFUSED),
        (picture("JPEG2000"), DropReason.FORMAT_REFUSED),
        (picture("PPM"), DropReason.FORMAT_REFUSED),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", DropReason.FORMAT_REFUSED),
        (b"<?xml version='1.0'?><!-- x --><svg:svg/>", DropReason.FORMAT_REFUSED),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", DropReason.FORMAT_REFUSED),
        (b"", DropReason.NOT_AN_IMAGE),
        (b"BM is how this text begins, and it goes on", DropReason.NOT_AN_IMAGE),
        (b"<!doctype html><html><svg></svg></html>", DropReason.NOT_AN_IMAGE),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", DropReason.NOT_AN_IMAGE),
        (b"%PDF-1.7", DropReason.NOT_AN_IMAGE),
        (picture("JPEG")[:-100], DropReason.BROKEN_IMAGE),
        (picture("PNG")[:200], DropReason.BROKEN_IMAGE),
        (picture("WEBP")[:100], DropReason.BROKEN_IMAGE),
        (b"\xff\xd8\xff" + b"x" * 100, DropReason.BROKEN_IMAGE),
        (picture("PNG", size=(15, 60)), DropReason.TOO_SMALL),
        (picture("PNG", size=(60, 16)), "image/png"),
        (picture("PNG", size=(100, 101)), DropReason.TOO_MANY_PIXELS),
        (picture("PNG", size=(100, 100)), "image/png"),
        (flat((30_000, 30_000), "1"), DropReason.TOO_MANY_PIXELS),
    ],
)
def test_each_kind_of_bytes_has_its_word(decoder, body, expected):
    assert verdict(decoder, body) == expected


def test_a_recipe_may_name_more_formats():
    wide = recipe(formats=("bmp", "avif", "tiff"))
    with Decoder(wide, SIZE, processes=1) as decoder:
        for name in ("BMP", "AVIF", "TIFF"):
            assert verdict(decoder, picture(name)) == f"image/{name.lower()}"
        assert verdict(decoder, picture("JPEG")) is DropReason.FORMAT_REFUSED


def test_a_format_that_no_decoder_knows_is_refused_at_the_start():
    with pytest.raises(ValueError, match="'heic'"):
        Decoder(recipe(formats=("jpeg", "heic")), SIZE, processes=1)


def test_a_picture_beyond_its_deadline_is_dropped_and_the_others_go_on():
    slow = flat((9000, 9000))
    bodies = [fetched(picture(), f"{n}") for n in range(20)]
    bodies.insert(3, fetched(slow, "slow"))
    with Decoder(recipe(), SIZE, processes=2, deadline=0.05) as decoder:
        found = {item.pair.url[19:]: item for item in decoder.decode(bodies)}
    assert len(found) == 21
    assert found.pop("slow").reason is DropReason.DECODE_LIMIT
    assert all(isinstance(item, Decoded) for item in found.values())


def test_a_picture_beyond_the_memory_is_dropped_and_the_others_go_on():
    large = flat((9000, 9000))  # 243 MB as RGB
    with Decoder(recipe(), SIZE, processes=1, memory=200 * 2**20) as decoder:
        found = [verdict(decoder, body) for body in (picture(), large, picture())]
    assert found == ["image/png", DropReason.DECODE_LIMIT, "image/png"]


@on_linux
def test_a_picture_of_the_most_pixels_fits_into_the_memory():
    most = recipe(max_pixels=16_000_000)
    with Decoder(most, SIZE, processes=1) as decoder:
        for mode in ("RGB", "RGBA", "L"):
            item = decode_one(decoder, flat((4000, 4000), mode))
            assert (item.width, item.height) == (4000, 4000)
        (process,) = decoder.process_ids
        assert peak_memory(process) < 16 * most.max_pixels + 64 * 2**20


@on_linux
def test_a_very_long_picture_costs_no_more_than_its_pixels():
    with Decoder(recipe(), 224, processes=1) as decoder:
        assert verdict(decoder, flat((16, 1_000_000))) == "image/png"
        (process,) = decoder.process_ids
        assert peak_memory(process) < 300 * 2**20


def peak_memory(process):
    """Bytes of the largest resident set so far."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
def test_a_process_that_dies_or_freezes_costs_one_picture(fate):
    with Decoder(recipe(), SIZE, processes=1, deadline=0.5) as decoder:
        assert verdict(decoder, picture()) == "image/png"
        (first,) = decoder.process_ids
        os.kill(first, fate)
        assert verdict(decoder, picture()) in (DropReason.DECODE_LIMIT, "image/png")
        assert verdict(decoder, picture()) == "image/png"
        assert decoder.process_ids != (first,)


def test_each_input_has_one_output_and_what_was_dropped_passes_through():
    dropped = [Dropped(Pair(f"http://example.org/d{n}", "t", ""), DropReason.DNS) for n in range(5)]
    bodies = [fetched(picture(), f"{n}") for n in range(200)]
    with Decoder(recipe(), SIZE, processes=2) as decoder:
        found = list(decoder.decode([*dropped, *bodies]))
        again = list(decoder.decode(bodies[:10]))
    urls = [item.pair.url for item in found]
    assert len(urls) == len(set(urls)) == 205
    assert found[:5] == dropped
    assert len(again) == 10


def test_bodies_are_pulled_only_when_there_is_room():
    pulled = 0

    def source():
        nonlocal pulled
        for number in range(2000):
            pulled += 1
            yield fetched(b"x" * 2**20, f"{number}")  # 1 MiB of nothing

    with Decoder(recipe(), SIZE, processes=1) as decoder:
        results = decoder.decode(source())
        assert pulled == 0
        for taken in range(1, 100):
            next(results)
            assert pulled <= taken + 16 + 256
        results.close()


def test_what_waits_for_a_process_is_bounded_in_number_and_bytes():
    def given_until_full(body):
        batch = _Batch(queue.SimpleQueue(), 2)
        count = 0
        while batch.has_room():
            batch.give(fetched(body))
            count += 1
        return count

    assert given_until_full(b"x") == 2 * 16
    assert given_until_full(bytes(20 * 2**20)) == 4  # 64 MiB and the one that passes them


def test_a_source_that_fails_is_heard():
    def source():
        yield fetched(picture())
        raise OSError("the downloads broke off")

    with Decoder(recipe(), SIZE, processes=1) as decoder:
        with pytest.raises(OSError, match="broke off"):
            list(decoder.decode(source()))
        assert len(list(decoder.decode([fetched(picture())]))) == 1


def test_nothing_is_left_behind():
    before = set(threading.enumerate())
    with Decoder(recipe(), SIZE, processes=2, deadline=30) as decoder:
        results = decoder.decode(fetched(flat((9000, 9000)), f"{n}") for n in range(10))
        assert isinstance(next(results), Decoded)
        processes = decoder.process_ids
        assert processes
        for process in processes:
            os.kill(process, signal.SIGSTOP)  # hangs, as far as we can tell
        started = time.monotonic()
    assert time.monotonic() - started < 15
    results.close()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert set(threading.enumerate()) <= before
    gc.collect()  # an unclosed pipe would warn here


@on_linux
def test_a_decoder_sees_no_secret_of_ours(monkeypatch):
    monkeypatch.setenv("LAION_WORKER_TOKEN", "lw_1_secret")
    with Decoder(recipe(), SIZE, processes=1) as decoder:
        list(decoder.decode([fetched(picture())]))
        (process,) = decoder.process_ids
        environment = Path(f"/proc/{process}/environ").read_bytes()
        arguments = Path(f"/proc/{process}/cmdline").read_bytes()
        names = {line.partition(b"=")[0] for line in environment.split(b"\0") if line}
        assert names <= {b"PYTHONPATH", b"OMP_NUM_THREADS", b"LD_LIBRARY_PATH"}
        assert b"secret" not in environment + arguments


@on_linux
def test_a_decoder_is_small_and_confined():
    with Decoder(recipe(), SIZE, processes=1) as decoder:
        list(decoder.decode([fetched(picture())]))
        (process,) = decoder.process_ids
        (guards,) = decoder.guards
        mapped = Path(f"/proc/{process}/maps").read_text()
        limits = Path(f"/proc/{process}/limits").read_text()
        status = Path(f"/proc/{process}/status").read_text()
    assert not any(name in mapped for name in ("torch", "numpy", "pyarrow", "pydantic", "pycurl"))
    assert Guards.LIMITS | Guards.NO_DESCRIPTORS | Guards.NO_NEW_PRIVILEGES in guards
    assert "NoNewPrivs:\t1" in status
    rows = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()[1:]}
    assert rows["Max open files"] == ["3", "3"]
    assert rows["Max file size"] == ["0", "0"]
    assert rows["Max core file size"] == ["0", "0"]
    assert rows["Max address space"] == [str(512 * 2**20 + 16 * 89_478_484)] * 2
    assert rows["Max cpu time"][0].isdigit()


CONFINED_PROBE = """
import os, resource, socket, sys
from worker_client.pipeline.confined.confine import confine
from worker_client.pipeline.confined.wire import Guards, Rules
guards = confine(Rules(32, ("png",), 100, 1, 2**30, 1.0))
def attempt(what):
    try:
        what()
    except OSError:
        return "refused"
    return "allowed"
lines = [attempt(lambda: open("/etc/passwd")), attempt(socket.socket), attempt(os.pipe)]
os.close(2)  # an attacker would free a descriptor
lines.append(attempt(lambda: os.open("/etc/passwd", os.O_RDONLY)))
print(*lines, "landlock" if Guards.LANDLOCK in guards else "plain")
"""


@on_linux
def test_a_confined_process_opens_nothing():
    run = subprocess.run(
        [sys.executable, "-c", CONFINED_PROBE], capture_output=True, text=True, check=True
    )
    *attempts, with_a_spare_descriptor, kind = run.stdout.split()
    assert attempts == ["refused"] * 3
    assert with_a_spare_descriptor == ("refused" if kind == "landlock" else "allowed")


def rules():
    return Rules(SIZE, ("png",), 10_000, 16, 2**30, 1.0)


def impostor(answer):
    """A process in a decoder's place that gives this answer to everything."""
    code = f"import os, time; os.write(1, b'\\0'); os.read(0, 1); os.write(1, {answer!r})"
    popen = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    process = DecodeProcess(popen, rules(), 5.0)
    process.await_ready()
    return process


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff" * 58,
        Answer(Verdict.KEPT, 7, 64, 64).pack() + bytes(SIZE * SIZE * 3),
        Answer(Verdict.KEPT, 0, 64, 0).pack() + bytes(SIZE * SIZE * 3),
        Answer(Verdict.KEPT, 0, 2**31, 2**31).pack() + bytes(SIZE * SIZE * 3),
        Answer(Verdict.KEPT, 0, 64, 64).pack() + bytes(SIZE),
        b"",
    ],
)
def test_a_decoder_that_lies_is_not_believed(answer):
    process = impostor(answer)
    try:
        with pytest.raises(DecoderDied):
            process.decode(fetched(b"x"))
    finally:
        process.close()


def test_a_machine_without_a_working_decoder_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        Decoder(recipe(), SIZE, processes=1) as decoder,
        pytest.raises(DecoderUnavailable, match="decoder process"),
    ):
        list(decoder.decode([fetched(picture())]))
