"""The auth service: checks credentials, signs access tokens, publishes its public keys.

Imports run one way: app > endpoints, storage > grants > tokens > identity, keys > model > oauth > shared.
`app.py` is the composition root; nothing else constructs a dependency.
"""
