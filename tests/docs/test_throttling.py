"""`docs/throttling.md` states the limits that ship."""

from __future__ import annotations

import re

from auth_service.app import throttle_limits
from auth_service.identity.devices import LIFETIME_SECONDS
from auth_service.identity.throttle import IPV6_NETWORKS, ThrottleLimits
from auth_service.settings import AuthSettings
from tests.architecture.tree import ROOT

PAGE = (ROOT / "docs" / "throttling.md").read_text(encoding="utf-8")
ROW = re.compile(r"\| (?P<budget>[^|]+) \| (?P<number>[\d,]+) \| `AUTH_(?P<setting>[A-Z_]+)` \|")
HOURS_IN_A_YEAR = 8_760


def test_the_table_shows_the_settings_as_they_ship() -> None:
    """Each row's number is its setting's default, and every limit has a row."""
    defaults = AuthSettings.load({})
    rows = list(ROW.finditer(PAGE))
    shown = {row["setting"]: int(row["number"].replace(",", "")) for row in rows}
    assert shown == {name: getattr(defaults, name.lower()) for name in shown}
    wanted = {name for name in AuthSettings.__struct_fields__ if name.startswith(("failures_", "registrations_"))}
    assert {name.lower() for name in shown} == wanted


def test_the_settings_ship_the_throttles_own_limits() -> None:
    """There is one set of numbers."""
    assert throttle_limits(AuthSettings.load({})) == ThrottleLimits()


def test_the_text_says_what_follows_from_the_numbers() -> None:
    """Guesses by one and by a thousand addresses, by the year, and how long a device is known."""
    limits = ThrottleLimits()
    for addresses in (1, 1_000):
        account = min(addresses * limits.caller, limits.account)
        service = min(addresses * limits.address, limits.service)
        name = "one address" if addresses == 1 else "1,000 addresses"
        row = f"| {name} | {account:,}, then {account:,} an hour | {service:,}, then {service:,} an hour |"
        assert row in PAGE
    whole = int(limits.address * dict(IPV6_NETWORKS)[48])
    row = f"{limits.account}, then {limits.account} an hour | {whole}, then {whole} an hour"
    assert f"| an IPv6 /48 with its 65,536 networks | {row} |" in PAGE
    assert f"{limits.account * (HOURS_IN_A_YEAR + 1):,} guesses" in PAGE
    assert f"for {LIFETIME_SECONDS // 86_400} days" in PAGE
