"""The auth service: checks credentials, signs access tokens, publishes its public keys.

Imports run one way, by the layers in `docs/architecture.md`. `app.py` is the composition root of what serves; an
operator's command constructs what it alone needs.
"""
