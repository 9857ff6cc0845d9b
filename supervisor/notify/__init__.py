"""ROOM: edges leave here. Every public module is a sink: one way of telling humans about transitions.

A sink has `tell(transition)`, which never blocks and never raises, a bounded queue behind it whose losses are counted, and `run()`, a task
that may be as slow as the world outside. No sink decides anything, and none knows another. What several of them need, and the parts of one
that is too long for a file, stand in modules that begin with an underscore.
"""
