"""ROOM: edges leave here. Every public module is a sink: one way of telling humans about transitions.

A sink has `tell(transition)`, which never blocks and never raises, a bounded queue behind it whose losses are counted, and `run()`, a task
that may be as slow as the world outside. No sink decides anything, and none knows another.
"""
