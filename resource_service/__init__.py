"""The resource service: private data behind access tokens.

Owns the protected resource (`user_data`) and its protection by tokens of issuers it trusts (`protection`, which would
serve any aiohttp application). Has its own database, and knows an issuer only by its address: nothing is shared with
the auth service but what that publishes over HTTP.
"""
