"""What was read is given again only while nothing has changed, and never takes more than its room."""

from __future__ import annotations

from resource_service.user_data.kept_reads import ENTRY_BYTES, MAX_READ_BYTES, KeptReads


class Versions:
    """A database whose version is set by the test."""

    def __init__(self, version: int | None) -> None:
        self.now = version

    def read(self) -> int | None:
        return self.now


def test_what_was_read_before_a_commit_is_not_found_after_it() -> None:
    versions = Versions(1)
    kept: KeptReads[str] = KeptReads(versions)
    before = kept.version()
    kept.keep("key", before, "value", 5)
    assert kept.find("key", kept.version()) == "value"
    assert kept.find("another", kept.version()) is None
    versions.now = 2
    assert kept.find("key", kept.version()) is None


def test_a_commit_between_taking_the_version_and_reading_makes_the_read_useless() -> None:
    """It may or may not have seen the commit, so it is kept under the version from before, which nobody asks for."""
    versions = Versions(1)
    kept: KeptReads[str] = KeptReads(versions)
    before = kept.version()
    versions.now = 2
    kept.keep("key", before, "read after the commit", 5)
    assert kept.find("key", kept.version()) is None


def test_without_a_version_nothing_is_kept() -> None:
    kept: KeptReads[str] = KeptReads(Versions(None))
    kept.keep("key", kept.version(), "value", 5)
    assert kept.find("key", kept.version()) is None
    assert kept.find("key", 1) is None


def test_the_least_recently_asked_for_leaves_first_and_what_is_large_is_not_kept() -> None:
    kept: KeptReads[int] = KeptReads(Versions(1), max_bytes=3 * (ENTRY_BYTES + 100))
    for number in range(3):
        kept.keep(number, 1, number, 100)
    assert kept.find(0, 1) == 0
    kept.keep(3, 1, 3, 100)
    assert [kept.find(number, 1) for number in range(4)] == [0, None, 2, 3]
    kept.keep(4, 1, 4, MAX_READ_BYTES + 1)
    assert kept.find(4, 1) is None
    for _ in range(100):
        kept.keep(3, 1, 3, 100)
    assert [kept.find(number, 1) for number in (0, 2, 3)] == [0, 2, 3]
