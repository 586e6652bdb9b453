"""Triggers: what deferred tasks wait on, in the triggerer's event loop.

They only watch and report; they never change an object, except to delete it when its task is killed.
"""
