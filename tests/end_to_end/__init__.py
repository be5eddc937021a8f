"""The services as they run for real: processes and containers, spoken to over HTTP and nothing else.

Everything started here listens on loopback, on ports of its own, with its data in a folder or volume of its own,
and is ended by the fixture that started it.
"""
