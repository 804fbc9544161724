"""How fast refundflow is, beside a bare Celery canvas that makes the very same vendor calls on the same servers.

`python -m tests.bench` (what `make bench` runs) starts a system of its own, measures, prints what it found and writes
docs/benchmarks.md and docs/benchmarks.svg from that one run. Nothing here is a test: no time is asserted.
"""
