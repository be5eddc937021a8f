"""The operator's commands, one file for each noun: `python -m auth_service users list`.

They work on the service's own database, beside a running service or without one. Tables for people, `--json` for
programs; secrets are asked for at a prompt or read from standard input, never taken as arguments.
Exit codes: 0 done, 1 it failed or there is no such thing, 2 the settings or the command line are wrong.
"""
