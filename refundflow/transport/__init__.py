"""Bytes to and from vendors: HTTP with time limits, signatures, pacing, tokens, redaction.

May import `observe`, `settings` and `domain`. No vendor is named here, and nothing here knows what a refund is.
"""
