"""The words and the rules: money, facts, decisions, plans, steps, states, outcomes.

May import the standard library only. No clock, no network, no database, no settings live here: whatever a rule
needs is passed in, so that every decision can be computed again later and come out the same.
"""
