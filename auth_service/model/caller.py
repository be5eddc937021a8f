"""Where a request came from."""

from __future__ import annotations

from dataclasses import dataclass

from shared.logging import redact_text

MAX_ADDRESS_CHARACTERS = 64
MAX_USER_AGENT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """An IP address and what the program called itself, as far as they are known; empty when not.

    Both are cut to a length and cleaned of what cannot be printed or stored, and of what looks like a credential: a
    header is the sender's to choose, and the audit trail keeps it.
    """

    address: str
    user_agent: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", _printable(self.address, MAX_ADDRESS_CHARACTERS))
        user_agent = redact_text(_printable(self.user_agent, MAX_USER_AGENT_CHARACTERS))
        object.__setattr__(self, "user_agent", user_agent[:MAX_USER_AGENT_CHARACTERS])


def _printable(text: str, length: int) -> str:
    text = text[:length]
    if text.isprintable():
        return text
    return "".join(character for character in text if character.isprintable())


NOWHERE = Caller("", "")
"""The caller of what the service does by itself, and of what an operator does on its machine."""
