import pytest
from pydantic import ValidationError

from laion_protocol import Counts, DropReason, FileEntry


def test_counts_that_lose_a_pair_are_refused():
    with pytest.raises(ValidationError, match="3 kept \\+ 6 dropped is not 10 seen"):
        Counts(pairs=10, kept=3, drops={DropReason.SIMILARITY: 4, DropReason.DNS: 2})


def test_counts_that_balance_are_taken():
    counts = Counts(pairs=10, kept=3, drops={DropReason.SIMILARITY: 7})

    assert counts.drops == {DropReason.SIMILARITY: 7}


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A.parquet", ".hidden", "x" * 65, "a\n"])
def test_a_file_name_that_could_leave_its_folder_is_refused(name):
    with pytest.raises(ValidationError):
        FileEntry(name=name, size=1, sha256="0" * 64)
