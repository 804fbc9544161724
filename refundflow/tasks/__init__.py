"""Celery's words only: thin tasks, chains and chords, routing, beat; may import flow and everything below; no
rule of money lives here.
"""
