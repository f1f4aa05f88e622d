"""The tars of an intermediate: ordinary ones for every tool, and nothing else gets through."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_protocol.picture_tar import END, NotPictures, packed, read_pictures

ID = 1234567890123456789
PLAIN = packed(ID, b"webp") + packed(7, b"x" * 512) + END


def read(data: bytes, most: int = 1000) -> list[tuple[int, bytes]]:
    return list(read_pictures(io.BytesIO(data), most=most))


def test_what_is_packed_is_read_back_and_is_a_tar_to_everybody() -> None:
    assert read(PLAIN) == [(ID, b"webp"), (7, b"x" * 512)]
    assert read(END) == []
    with tarfile.open(fileobj=io.BytesIO(PLAIN)) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    assert members == {f"{ID}.webp": b"webp", f"{7:019}.webp": b"x" * 512}


@pytest.mark.parametrize(
    "change",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "1.webp"},
        {"type": tarfile.DIRTYPE},
        {"name": "../0000000000000000007.webp"},
        {"name": "7.webp"},
        {"name": "0000000000000000007.png"},
        {"uid": 5},
        {"uname": "somebody"},
        {"mtime": 1},
        {"mode": 0o755},
    ],
)
def test_any_other_member_is_refused(change: dict) -> None:
    member = tarfile.TarInfo("0000000000000000007.webp")
    for name, value in change.items():
        setattr(member, name, value)
    with pytest.raises(NotPictures, match="member 1"):
        read(member.tobuf(tarfile.USTAR_FORMAT) + END)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PLAIN[:-1],
        PLAIN + b"\0",
        PLAIN[: -len(END)],
        PLAIN[:600],
        PLAIN[:520] + b"!" + PLAIN[521:],  # in the padding
        END[:-1] + b"!",
        packed(ID, b"x" * 1001) + END,
    ],
)
def test_what_is_cut_hidden_or_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(NotPictures):
        read(data)


@given(st.integers(0, len(PLAIN) - 1), st.integers(1, 255))
def test_no_byte_can_change_unseen_outside_of_the_pictures(at: int, by: int) -> None:
    data = bytearray(PLAIN)
    data[at] ^= by
    try:
        found = read(bytes(data))
    except NotPictures:
        return
    # one that is read differs in its pictures, or, by a header that fits, in its name
    assert found != read(PLAIN)
    assert b"".join(packed(*one) for one in found) + END == bytes(data)
