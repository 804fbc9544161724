"""Servers and processes of our own: PostgreSQL and Redis from wheels, and a supervisor, for `demo`, `up` and tests.

May import `observe`, `settings` and `domain`; processes are told everything through arguments, so that nothing above
has to be known here. What does not live here: what the processes do, and how a production host runs them (`deploy/`).
Whatever is started here ends with the process that started it, even when that one is killed (`leash.py`).
Why servers come from wheels: `docs/decisions/0001-servers-from-wheels.md`.
"""
