"""The operator's door: look, explain, approve, replay, check. One file per noun; `main` ties them together.

May import everything below. No rule lives here: commands call the same `flow/` moves as the workers, print what came of
it, and launch what became ready. Heavy rooms are imported inside the commands that need them, so that `--help` is quick.
"""
