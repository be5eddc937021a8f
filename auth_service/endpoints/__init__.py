"""HTTP only: an endpoint parses once, calls, renders. One file for each URL, beside what several
share.

Decides nothing about accounts, sessions or keys; those are `identity`, `tokens` and `keys`.
"""
