"""PostgreSQL: what is true. Tables, queries, migrations, audit, ledger, inbox, dead letters.

May import `observe`, `settings` and `domain`. Every function takes an open connection and leaves the commit to its
caller, except where it says otherwise. Locks are taken in one order: case, step, payment, chain.
"""
