"""The rehearsal: a practice world with orders, payments and invoices, and real-shaped events sent through the front door.

May import `embedded`, `sandbox` and everything the CLI may. It knows the product from outside only: it seeds the practice
vendors, sends events over HTTP, reads the API and the vendors' books, and compares.
"""
