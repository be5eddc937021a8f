"""Where a request came from, made fit for storing and printing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auth_service.model.caller import MAX_ADDRESS_CHARACTERS, MAX_USER_AGENT_CHARACTERS, Caller


def test_a_plain_caller_is_kept_as_it_is() -> None:
    """An address and a product name are not touched."""
    caller = Caller("2001:db8::7", "Mozilla/5.0 (X11; Linux x86_64)")
    assert (caller.address, caller.user_agent) == ("2001:db8::7", "Mozilla/5.0 (X11; Linux x86_64)")


@given(st.text(alphabet=st.characters(), max_size=400), st.text(alphabet=st.characters(), max_size=400))
def test_whatever_is_sent_can_be_stored(address: str, user_agent: str) -> None:
    """Control characters, NUL and lone surrogates go, and the length is bounded."""
    caller = Caller(address, user_agent)
    for text, length in ((caller.address, MAX_ADDRESS_CHARACTERS), (caller.user_agent, MAX_USER_AGENT_CHARACTERS)):
        assert len(text) <= length
        assert text.isprintable()
        text.encode()
