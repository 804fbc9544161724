"""The vendors' door: verify, store, commit, answer; then try to enqueue. Nothing is decided and no vendor is called here.

May import everything below. What it stores is read, and acted upon, by the intake task.
"""
