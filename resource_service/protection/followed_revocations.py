"""What all trusted issuers have revoked, whichever way they tell it: by a feed or by status lists."""

from __future__ import annotations

from collections.abc import Mapping

from resource_service.protection.remote_status_list import RemoteStatusLists
from resource_service.protection.revocation import StatusListUnknown
from resource_service.protection.revocation_feed import RemoteRevocations
from shared.access_token import VerifiedAccessToken


class FollowedRevocations:
    """The feeds and the status lists by issuer, as the verifier and the routes ask them: a `RevocationCheck`.

    Without lists, because an application asks in its own way whether a token is revoked, only the feeds have an age.
    """

    def __init__(self, feeds: Mapping[str, RemoteRevocations], lists: Mapping[str, RemoteStatusLists]) -> None:
        self._feeds = feeds
        self._lists = lists

    def is_revoked(self, token: VerifiedAccessToken) -> bool:
        if self._feeds[token.issuer].is_revoked(token):
            return True
        return token.status is not None and self._lists[token.issuer].is_refused(token)

    def require_fresh(self, token: VerifiedAccessToken, max_age: float) -> None:
        """As `RemoteRevocations.require_fresh`, of the token's issuer."""
        self._feeds[token.issuer].require_fresh(max_age)
        lists = self._lists.get(token.issuer)
        if lists is not None:
            lists.require_fresh(token, max_age)

    async def await_list(self, unknown: StatusListUnknown) -> None:
        """As `RemoteStatusLists.await_list`, of the issuer whose list it is."""
        await self._lists[unknown.issuer].await_list(unknown.uri)
