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


def test_a_credential_in_the_wrong_field_is_not_kept() -> None:
    """A token that a mistaken client sends as its name reaches neither audit trail nor list of sessions."""
    for secret in ("signet_refresh_" + "A" * 64, "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "Bearer abcdefghijkl"):
        assert secret.split()[-1] not in Caller("", f"curl/8.0 {secret}").user_agent
        assert secret.split()[-1][:60] not in Caller("", "x" * 130 + f" {secret}").user_agent
