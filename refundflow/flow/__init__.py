"""The moves: receive an event, gather facts, decide, plan, run a step, settle a case, sweep, replay. No Celery in here.

May import `store`, `connectors` and below. A move reads the platforms with no transaction open, and writes what it
learned in one transaction; it returns what should be launched, and its caller (a task, the CLI) launches it.
"""
