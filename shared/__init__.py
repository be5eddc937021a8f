"""What both services import, and nothing that only one of them needs.

Owns the token contract (both ends of it), the protocol values that travel between the services, and the
ground both stand on: clock, errors, settings, database, web, logging. Knows neither service.
"""

import sys

if "rich" not in sys.modules and "structlog" not in sys.modules:
    # structlog loads rich for its console where that is installed (in every developer's environment): 3 MB for log
    # lines that are JSON. It is told that there is none; whoever else wants rich gets it.
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401 - loaded here, without rich

    del sys.modules["rich"]
