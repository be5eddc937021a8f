"""What both services import, and nothing that only one of them needs.

Owns the token contract (both ends of it), the protocol values that travel between the services, and the
ground both stand on: clock, errors, settings, database, web, logging. Knows neither service.
"""
