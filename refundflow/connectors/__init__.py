"""One file per platform, all of one shape: commands to vendor requests, vendor answers to outcomes, events to readings.

May import `transport`, `observe`, `settings` and `domain`. No connector knows another one, keeps state, or decides
anything about money: what to do was decided in the plan.

Adding a platform
1. Read its sheet. Copy the shape of `stripe.py`: docstring (role, version pinned, quirks, date read), `Credentials`,
   `SPEC`, the class with one method per capability, pure `…_request` / `read_…` functions, the vendor's error table.
2. Give every operation with an effect its `find_…` twin, and declare its idempotency in `SPEC`.
3. Add one line to `wiring.py`, one contract test in `tests/contract/`, one row to the README's platform table.
"""
