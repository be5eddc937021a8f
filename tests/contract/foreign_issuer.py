"""An OAuth server that is not ours: Authlib's, with its own grants and token generators, behind aiohttp.

Ours is only what Authlib leaves to the application: where clients and users come from, the key set's address and
the metadata document. It publishes that where RFC 8414 or where OpenID Connect Discovery says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

from aiohttp import ClientSession, encode_basic_auth, web
from authlib.oauth2.rfc6749 import (  # type: ignore[import-untyped]  # Authlib has no types
    AuthorizationServer,
    ClientMixin,
    OAuth2Request,
)
from authlib.oauth2.rfc6749.grants import (  # type: ignore[import-untyped]
    ClientCredentialsGrant,
    ResourceOwnerPasswordCredentialsGrant,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload  # type: ignore[import-untyped]
from authlib.oauth2.rfc7523 import JWTBearerTokenGenerator as PlainGenerator  # type: ignore[import-untyped]
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator  # type: ignore[import-untyped]
from joserfc.jwk import KeySet, RSAKey

from tests.wire import serve

AUDIENCE = "https://api.example"
CLIENT_ID, CLIENT_SECRET = "reporting", "a client secret"
USERNAME, PASSWORD = "ada", "a password"
TOKEN_SECONDS = 300
RFC8414 = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"


class Client(ClientMixin):  # type: ignore[misc]
    """The one client."""

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type: str) -> bool:
        return True


class User:
    """The one user."""

    def get_user_id(self) -> str:
        return "user-1"


class PasswordGrant(ResourceOwnerPasswordCredentialsGrant):  # type: ignore[misc]
    def authenticate_user(self, username: str, password: str) -> User | None:
        return User() if (username, password) == (USERNAME, PASSWORD) else None


class Rfc9068Tokens(JWTBearerTokenGenerator):  # type: ignore[misc]
    """Authlib's generator for RFC 9068."""

    def __init__(self, issuer: str, keys: KeySet) -> None:
        super().__init__(issuer, expires_generator=lambda _client, _grant_type: TOKEN_SECONDS)
        self._keys = keys

    def get_jwks(self) -> KeySet:
        return self._keys

    def get_audiences(self, client: Client, user: User | None, scope: str) -> list[str]:
        return [AUDIENCE]


class PlainTokens(PlainGenerator):  # type: ignore[misc]
    """Authlib's generator of plain JWTs: no `typ` of access tokens, no `jti`, an hour of life."""

    def __init__(self, issuer: str, keys: KeySet) -> None:
        super().__init__(keys, issuer)

    def get_token_data(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        return {**super().get_token_data(*arguments, **options), "aud": AUDIENCE}


class TokenRequest(OAuth2Request):  # type: ignore[misc]
    """A request as Authlib reads it."""

    def __init__(self, request: web.Request, form: dict[str, str]) -> None:
        super().__init__(request.method, str(request.url), headers=request.headers)
        self.payload = BasicOAuth2Payload(form)
        self._form = form

    @property
    def form(self) -> dict[str, str]:
        return self._form


class ForeignIssuer(AuthorizationServer):  # type: ignore[misc]
    """The server; `rfc9068` chooses the generator."""

    def __init__(self, *, rfc9068: bool, metadata_path: str) -> None:
        super().__init__()
        self.url = ""
        self._rfc9068 = rfc9068
        self._metadata_path = metadata_path
        self._keys = KeySet([RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)])
        self.register_grant(ClientCredentialsGrant)
        self.register_grant(PasswordGrant)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ForeignIssuer]:
        """Listen until the block ends."""
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_get("/certs", self._certs)
        app.router.add_get(self._metadata_path, self._metadata)
        async with serve(app) as port:
            self.url = f"http://127.0.0.1:{port}"
            generator = Rfc9068Tokens if self._rfc9068 else PlainTokens
            self.register_token_generator("default", generator(self.url, self._keys))
            yield self

    async def token(self, **form: str) -> str:
        """An access token from the token endpoint."""
        headers = {"Authorization": encode_basic_auth(CLIENT_ID, CLIENT_SECRET)}
        data = {"scope": "data:read", **form}
        async with ClientSession() as http, http.post(f"{self.url}/token", data=data, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            token: str = (await answer.json())["access_token"]
            return token

    def query_client(self, client_id: str) -> Client | None:
        return Client() if client_id == CLIENT_ID else None

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        """A token says everything itself."""

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> web.Response:
        return web.json_response(body, status=status)

    def send_signal(self, name: str, *arguments: Any, **options: Any) -> None:
        """Nobody listens."""

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        answer: web.Response = self.create_token_response(TokenRequest(request, form))
        return answer

    async def _certs(self, _request: web.Request) -> web.Response:
        return web.json_response(self._keys.as_dict(private=False))

    async def _metadata(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/certs",
                "token_endpoint": f"{self.url}/token",
                "response_types_supported": [],
            }
        )
