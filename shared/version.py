"""The version of the release, told in `/openapi.json`; `tests/architecture` holds it to that of `pyproject.toml`."""

VERSION = "0.1.0"
