"""Practice vendors: a stateful double of every platform, each with its own book of what really happened.

May import Falcon, gunicorn, graphql-core and the standard library; of refundflow only `domain.money`'s words are shared, never
a connector: the doubles are written from the vendors' descriptions, so that a connector's mistake is not repeated here.
`base.py` is the contract and what all share, one file a vendor follows (Shopify has its schema, its state and its way of
reading requests beside it), `app.py` puts them behind one WSGI application, `serve.py` serves it.
"""
