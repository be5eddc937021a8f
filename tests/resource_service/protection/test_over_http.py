"""A protected application over HTTP: who gets in, what the others are told, and what happens meanwhile."""

from __future__ import annotations

import asyncio
import re
from random import Random
from typing import Any

import pytest

from resource_service.protection import VerifiedAccessToken
from shared.bearer import TokenFault
from shared.errors import Unavailable
from tests.clock import FrozenClock
from tests.protocol.minting import ABSENT, mint, signing_key
from tests.protocol.mutants import mutant
from tests.protocol.test_rfc9068_validation import ACCEPTED, CLAIMS, FORM, HEADERS, OTHER_KINDS
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.issuer import Issuer, body_of, hang, until
from tests.wire import Reply, exchange

METADATA = "http://localhost:8002/.well-known/oauth-protected-resource"
CHALLENGE = re.compile(
    r'Bearer realm="data", error="invalid_token", '
    r'error_description="(The access token [a-z ]+\.)", resource_metadata="[^"]+"'
)
HTTP_SAMPLE = 300


def assert_refused(reply: Reply) -> str:
    """The one form of 401 for a bad token; its text."""
    assert reply.status == 401
    challenge = CHALLENGE.fullmatch(reply.headers["WWW-Authenticate"])
    assert challenge is not None
    assert reply.json() == {"error": "invalid_token", "error_description": challenge[1]}
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Content-Type"].startswith("application/json")
    return challenge[1]


@pytest.mark.parametrize("token", [*ACCEPTED.values()], ids=[*ACCEPTED])
async def test_good_tokens_are_let_in(api: Api, token: str) -> None:
    """Each correct form reaches the handler, the first time and from the cache."""
    for _ in range(2):
        reply = await api.get(token=token)
        assert reply.status == 200
        assert reply.json()["iss"] == "http://localhost:8001"


ROWS = {
    **{f"form: {name}": token for name, (token, _) in FORM.items()},
    **{f"header: {name}": token for name, (token, _) in HEADERS.items()},
    **{f"claims: {name}": token for name, (token, _) in CLAIMS.items()},
    **{f"kind: {name}": token for name, token in OTHER_KINDS.items()},
}


async def test_bad_tokens_are_refused_in_one_form(api: Api, issuer: Issuer) -> None:
    """Every row of the validation tables that HTTP can carry: 401 with the challenge, and nothing is fetched for it."""
    sent = 0
    for name, token in ROWS.items():
        if not token.isascii() or not token.isprintable() or " " in token or not 0 < len(token) < 8_000:
            continue  # such a field is no HTTP, or no single token: test_credentials_that_are_malformed
        assert_refused(await api.get(token=token))
        sent += 1
        assert (await api.get(token=mint())).status == 200, name
    assert sent > 250
    # Rows whose kid is unknown are plausible otherwise, so the gate let two of them ask.
    assert len(issuer.key_requests) <= 3
    assert issuer.other_requests == []


async def test_one_text_for_unknown_key_and_bad_signature(api: Api) -> None:
    """What comes before a good signature is answered in one text, and only then others exist."""
    stranger = signing_key("RS256", 1)
    texts = {
        assert_refused(await api.get(token=token))
        for token in (
            mint(key=stranger),
            mint(key=stranger, header={"kid": signing_key().kid}),
            mint(key=stranger, claims={"exp": 1}),
            mint(claims={"aud": "other"}),
            "a.b.c",
        )
    }
    assert texts == {"The access token is not valid here."}
    assert assert_refused(await api.get(token=mint(claims={"exp": 1}))) == "The access token has expired."


async def test_a_sample_of_mutants(api: Api) -> None:
    """Mutants over HTTP: refused with 401 or 400, never let in, never an error of ours."""
    random = Random(3)
    for _ in range(HTTP_SAMPLE):
        token = mutant(random)
        if not token.isascii() or not token.isprintable():
            continue
        reply = await api.get(token=token)
        # A space divides the token in two; a plausible token of an unknown key may find the issuer's gate shut.
        assert reply.status in ((400, 401) if " " in token or not token else (401,)), token


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ([], 401, None),
        ([b"Basic YTpi"], 401, None),
        ([b"DPoP abc"], 401, None),
        ([b"JWT {token}"], 401, None),
        ([b"Bearer"], 400, "invalid_request"),
        ([b"Bearer a b"], 400, "invalid_request"),
        ([b"Bearer {token}", b"Bearer {token}"], 400, "invalid_request"),
        ([b"Bearer {token}", b"Basic YTpi"], 400, "invalid_request"),
        ([b'Bearer {"payload":"","signatures":[]}'], 401, "invalid_token"),
        ([b"Bearer \xc3\xa4.b.c"], 401, "invalid_token"),
        ([b"bearer {token}"], 200, None),
    ],
    ids=str,
)
async def test_credentials_as_bytes(api: Api, fields: list[bytes], status: int, error: str | None) -> None:
    """Credentials are read from exactly one field; without ours the challenge names no error."""
    lines = b"".join(b"Authorization: " + field.replace(b"{token}", mint().encode()) + b"\r\n" for field in fields)
    reply = await exchange(api.port, b"GET /whoami HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
    assert reply.status == status
    if status != 200:
        challenge = reply.headers["WWW-Authenticate"]
        assert challenge.startswith('Bearer realm="data", ')
        assert ("error=" in challenge) == (error is not None)
        assert error is None or f'error="{error}"' in challenge
        assert f'resource_metadata="{METADATA}"' in challenge
        assert reply.headers["Cache-Control"] == "no-store"


async def test_without_credentials_the_needed_scope_is_named(api: Api) -> None:
    """The challenge says what to ask for at this route, or all there is where the route asks for nothing (MCP)."""
    assert 'scope="data:read data:write"' in (await api.get("/whoami")).headers["WWW-Authenticate"]
    assert 'scope="data:read"' in (await api.get("/read")).headers["WWW-Authenticate"]
    assert 'scope="data:read"' in (await api.get("/either")).headers["WWW-Authenticate"]


@pytest.mark.parametrize("where", ["/whoami?access_token={}", "/whoami?token={}", "/whoami?authorization=Bearer%20{}"])
async def test_a_token_in_the_query_is_not_looked_at(api: Api, where: str) -> None:
    """RFC 9700 section 4.3.2: it is as if nothing had been sent."""
    reply = await api.get(where.format(mint()))
    assert reply.status == 401
    assert "error" not in reply.headers["WWW-Authenticate"].replace("error_description", "")


async def test_the_older_spelling(issuer: Issuer, clock: FrozenClock) -> None:
    """`Authorization: JWT` is checked exactly as Bearer where it is switched on."""
    async with running_api(resource_of(issuer, jwt_scheme=True), clock) as api:
        assert (await api.get(Authorization=f"JWT {mint()}")).status == 200
        assert (await api.get(Authorization=f"jwt {mint()}")).status == 200
        assert_refused(await api.get(Authorization=f"JWT {mint(claims={'iss': 'other'})}"))
        assert (await api.get(Authorization="JWT")).status == 400


@pytest.mark.parametrize(
    ("method", "path", "scope", "status"),
    [
        ("GET", "/read", "data:read", 200),
        ("GET", "/read", "data:write data:read", 200),
        ("GET", "/read", "data:write", 403),
        ("GET", "/read", "data:reader", 403),
        ("GET", "/read", "Data:read", 403),
        ("GET", "/read", ABSENT, 403),
        ("PUT", "/write", "data:read", 403),
        ("PUT", "/write", "data:write", 403),
        ("PUT", "/write", "data:write data:read x", 204),
        ("GET", "/either", "data:admin", 204),
        ("GET", "/either", "data:read", 204),
        ("GET", "/either", "data:write", 403),
        ("GET", "/whoami", ABSENT, 200),
        ("GET", "/hello", ABSENT, 200),
    ],
)
async def test_scopes_beside_the_route(api: Api, method: str, path: str, scope: object, status: int) -> None:
    """All of, any of, or nothing, exactly compared (CVE-2026-54560)."""
    reply = await api.request(method, path, mint(claims={"scope": scope}))
    assert reply.status == status
    if status == 403:
        assert 'error="insufficient_scope"' in reply.headers["WWW-Authenticate"]
        assert reply.json()["error"] == "insufficient_scope"
        assert reply.headers["Cache-Control"] == "no-store"


async def test_all_needed_scopes_stand_in_one_challenge(api: Api) -> None:
    """A client can ask for everything the operation needs at once."""
    reply = await api.request("PUT", "/write", mint(claims={"scope": "data:read"}))
    assert 'scope="data:read data:write"' in reply.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"acr": "2"}, 204),
        ({"acr": "3"}, 204),
        ({"acr": "1"}, 401),
        ({"acr": ABSENT}, 401),
        ({"acr": "2", "auth_time": 1_800_000_000 - 300}, 204),
        ({"acr": "2", "auth_time": 1_800_000_000 - 301}, 401),
        ({"acr": "2", "auth_time": ABSENT}, 401),
        ({"acr": "2", "scope": "data:write"}, 403),
    ],
    ids=str,
)
async def test_step_up(api: Api, claims: dict[str, Any], status: int) -> None:
    """RFC 9470: a sign-in that is too weak or too old is told which would do."""
    reply = await api.get("/step-up", mint(claims=claims))
    assert reply.status == status
    if status == 401:
        assert reply.headers["WWW-Authenticate"].endswith('acr_values="2 3", max_age="300"')
        assert reply.json()["error"] == "insufficient_user_authentication"


async def test_a_cached_token_is_still_asked_what_the_route_asks(api: Api, clock: FrozenClock) -> None:
    """A verdict from the cache holds for the token, not for scope or age (GHSA-qvp4-rpmr-xwrr, CVE-2021-32701)."""
    token = mint(claims={"scope": "data:read", "acr": "2", "auth_time": int(clock.now())})
    assert (await api.get("/read", token)).status == 200
    assert (await api.request("PUT", "/write", token)).status == 403
    assert (await api.get("/step-up", token)).status == 204
    clock.advance(200)
    assert (await api.get("/step-up", token)).status == 204
    assert api.protection.health().issuers[0].cache.hits == 3


async def test_a_cached_token_expires(api: Api, clock: FrozenClock) -> None:
    """Time is checked at each request: expired on the instant, and gone from the cache."""
    token = mint()
    assert (await api.get(token=token)).status == 200
    clock.advance(290 + 4.9)
    assert (await api.get(token=token)).status == 200
    clock.advance(0.1)
    assert assert_refused(await api.get(token=token)) == "The access token has expired."
    assert api.protection.health().issuers[0].cache.entries == 0


async def test_a_step_of_the_wall_clock_is_noticed(api: Api, clock: FrozenClock) -> None:
    """A cached token that is suddenly issued in the future is refused like any other."""
    assert (await api.get(token=mint())).status == 200
    clock.skew(-60)
    assert_refused(await api.get(token=mint()))


async def test_a_removed_key_refuses_cached_tokens_too(api: Api, issuer: Issuer, clock: FrozenClock) -> None:
    """After the next refresh nothing of a removed key is left, the cache included (CVE-2025-22149)."""
    token = mint(claims={"exp": 1_800_000_600})
    assert (await api.get(token=token)).status == 200
    issuer.keys = [signing_key("RS256", 1)]
    clock.advance(290)
    await until(lambda: api.protection.health().issuers[0].keys.generation == 2)
    assert_refused(await api.get(token=token))
    assert api.protection.health().issuers[0].cache.entries == 0


async def test_a_rotated_key_refuses_nobody(api: Api, issuer: Issuer) -> None:
    """A token of a key that was published a moment ago waits for the key and is served."""
    new = signing_key("RS256", 1)
    issuer.keys = [signing_key(), new]
    replies = await asyncio.gather(*(api.get(token=mint(key=new, claims={"jti": str(n)})) for n in range(20)))
    assert [reply.status for reply in replies] == [200] * 20
    assert (await api.get(token=mint())).status == 200
    assert len(issuer.key_requests) == 2


async def test_a_flood_of_unknown_keys_is_refused_at_once(api: Api, issuer: Issuer) -> None:
    """Random key ids cost the issuer two requests and valid callers nothing."""
    for number in range(200):
        assert_refused(
            await api.get(token=mint(key=signing_key("ES256"), header={"alg": "RS256", "kid": f"k{number}"}))
        )
    assert len(issuer.key_requests) == 3
    assert (await api.get(token=mint())).status == 200


async def test_own_keys_in_the_header_lead_nowhere(api: Api, issuer: Issuer) -> None:
    """jwk, jku, x5u and x5c with an unknown kid: refused, and no request leaves (CVE-2026-27962, CVE-2025-24976)."""
    stranger = signing_key("RS256", 1)
    for header in (
        {"jwk": stranger.public_jwk.as_json_object()},
        {"jku": f"{issuer.url}/attacker"},
        {"x5u": f"{issuer.url}/attacker"},
        {"x5c": ["MII"]},
    ):
        assert_refused(await api.get(token=mint(key=stranger, header=header)))
    assert_refused(await api.get(token=mint(key=stranger, claims={"iss": f"{issuer.url}/attacker"})))
    assert len(issuer.key_requests) == 1
    assert issuer.other_requests == []


async def test_a_cold_start_is_503_and_heals(issuer: Issuer, clock: FrozenClock) -> None:
    """Without keys the answer is 503 with Retry-After, never 401 for a token that may be good; then it is 200."""
    issuer.answer = body_of(b"", status=500)
    async with running_api(resource_of(issuer), clock, wait_for_keys=False) as api:
        reply = await api.get(token=mint())
        assert reply.status == 503
        assert 1 <= int(reply.headers["Retry-After"]) <= 60
        assert reply.json()["error"] == "temporarily_unavailable"
        assert "WWW-Authenticate" not in reply.headers
        assert (await api.get("/hello")).status == 200
        assert (await api.get("/livez")).status == 200
        assert (await api.get()).status == 401
        assert_refused(await api.get(token="a.b.c"))
        assert_refused(await api.get(token=mint(claims={"exp": 1})))
        holds, figures = await api.protection.readiness.report()
        assert not holds
        assert figures == {"age_seconds": None, "keys": 0, "stale": False}
        issuer.answer = None
        clock.advance(61)
        await until(lambda: api.protection.health().usable)
        assert (await api.get(token=mint())).status == 200
        assert (await api.protection.readiness.report())[0]


async def test_known_keys_are_served_while_the_issuer_hangs(api: Api, issuer: Issuer) -> None:
    """A slow issuer slows nobody whose key is known."""
    issuer.answer = hang
    waiting = asyncio.create_task(api.get(token=mint(key=signing_key("RS256", 1))))
    await until(lambda: len(issuer.key_requests) == 2)
    for number in range(20):
        assert (await api.get(token=mint(claims={"jti": str(number)}))).status == 200
    assert not waiting.done()
    assert (await waiting).status == 503


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/whoami", 401),
        ("/items/a", 401),
        ("/inner/whoami", 401),
        ("/inner/livez", 401),
        ("/livez/more", 401),
        ("/hello", 200),
        ("/inner/hello", 200),
        ("/livez", 200),
        ("/livez?x=/whoami", 200),
        ("/nowhere", 404),
        ("/livez/", 404),
        ("//livez", 404),
        ("/whoami/../livez", 404),
        ("/livez/../whoami", 404),
        ("/LIVEZ", 404),
    ],
)
async def test_a_route_is_closed_unless_it_says_otherwise(api: Api, path: str, status: int) -> None:
    """A forgotten route, a view, a sub-application and what resembles an open path need a token (CVE-2026-34457)."""
    disguise = b"User-Agent: kube-probe/1.0\r\nX-Original-URL: /livez\r\nX-HTTP-Method-Override: OPTIONS\r\n"
    for lines in (b"", disguise):
        reply = await exchange(api.port, f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode() + lines + b"\r\n")
        assert reply.status == status


async def test_a_view_finds_its_token(api: Api) -> None:
    """Class-based handlers and sub-applications get the same verified token."""
    assert (await api.get("/items/a", mint())).json() == {"sub": "0190f6c2-7abc-7def-8123-456789abcdef"}
    assert (await api.get("/inner/whoami", mint())).status == 200


async def test_head_and_other_methods_are_closed_too(api: Api) -> None:
    """HEAD is protected as GET is; a method the route does not take is 405 whoever asks."""
    assert (await api.request("HEAD", "/whoami")).status == 401
    assert (await api.request("HEAD", "/whoami", mint())).status == 200
    assert (await api.request("DELETE", "/whoami")).status == 405
    assert (await api.request("OPTIONS", "/whoami")).status == 405


async def test_the_methods_of_a_view_have_rules_of_their_own(api: Api) -> None:
    """A mark on a method comes before that on the class; a mark is inherited but for that of being public."""
    reader, writer = mint(claims={"scope": "data:read"}), mint(claims={"scope": "data:write"})
    for path in ("/marked", "/heir"):
        assert [(await api.get(path, token)).status for token in (reader, writer, None)] == [200, 403, 401], path
        assert [(await api.request("PUT", path, token)).status for token in (reader, writer, None)] == [403, 200, 401]
        assert (await api.request("OPTIONS", path)).status == 200
    for path, status in (("/open", 200), ("/heir-of-open", 401)):
        assert (await api.get(path)).status == status
    assert (await api.get("/heir-of-open", reader)).status == 200
    assert (await api.request("PURGE", "/marked")).status == 401
    assert (await api.request("PURGE", "/marked", reader)).status == 405
    assert (await api.request("PUT", "/marked", reader)).status == 403, "whatever was asked before"
    assert (await api.request("POST", "/marked")).status == 401
    assert (await api.request("POST", "/marked", reader)).status == 405


async def test_a_partial_has_the_rule_of_its_function(api: Api) -> None:
    """`functools.partial` hides a mark from nobody."""
    assert (await api.request("PUT", "/partial", mint(claims={"scope": "data:read"}))).status == 403
    assert (await api.request("PUT", "/partial", mint(claims={"scope": "data:read data:write"}))).status == 204


class RevokedSubjects:
    """Revocation as a test likes it."""

    def __init__(self) -> None:
        self.subjects: set[str] = set()
        self.is_down = False
        self.asked = 0

    def is_revoked(self, token: VerifiedAccessToken) -> bool:
        self.asked += 1
        if self.is_down:
            raise Unavailable("Revocations are not available.", retry_after=7)
        return token.subject in self.subjects


async def test_revocation_is_asked_every_time(issuer: Issuer, clock: FrozenClock) -> None:
    """Cached or not, each request asks; a revoked token is refused at once, and 503 says that nobody knows."""
    revocation = RevokedSubjects()
    async with running_api(resource_of(issuer), clock, revocation=revocation) as api:
        token = mint()
        for count in range(1, 4):
            assert (await api.get(token=token)).status == 200
            assert revocation.asked == count
        revocation.subjects.add("0190f6c2-7abc-7def-8123-456789abcdef")
        assert assert_refused(await api.get(token=token)) == "The access token was revoked."
        assert assert_refused(await api.get(token=mint(claims={"jti": "new"}))) == "The access token was revoked."
        revocation.is_down = True
        reply = await api.get(token=token)
        assert (reply.status, reply.headers["Retry-After"]) == (503, "7")
        assert api.protection.verifier.refusals[TokenFault.REVOKED] == 2


async def test_revocation_is_asked_after_waiting_for_a_key_too(issuer: Issuer, clock: FrozenClock) -> None:
    """No way to a handler leads past revocation."""
    revocation = RevokedSubjects()
    revocation.subjects.add("0190f6c2-7abc-7def-8123-456789abcdef")
    async with running_api(resource_of(issuer), clock, revocation=revocation) as api:
        new = signing_key("RS256", 1)
        issuer.keys = [new]
        assert assert_refused(await api.get(token=mint(key=new))) == "The access token was revoked."


async def test_faults_are_counted(api: Api) -> None:
    """Each refusal is counted by the rule that was broken."""
    for token in ("a.b", mint(claims={"exp": 1}), mint(claims={"aud": "x"})):
        await api.get(token=token)
    assert dict(api.protection.verifier.refusals) == {
        TokenFault.FORMAT: 1,
        TokenFault.EXPIRED: 1,
        TokenFault.AUDIENCE: 1,
    }
