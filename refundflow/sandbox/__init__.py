"""Practice vendors: a stateful double of every platform, each with its own book of what really happened.

May import Falcon and the standard library; of refundflow only `domain.money`'s words are shared, never a connector:
the doubles are written from the vendors' descriptions, so that a connector's mistake is not repeated here.
"""
