"""ROOM: other processes. Starts them, keeps them alive, and speaks with them over one socket pair each.

`spawn` makes a process, `keeper` keeps one running; `checkers`, `exporter` and `runner` are the conversations. What a child says is hostile
input and is validated here before it becomes an event; what a child did wrong ends in its being killed and started again.
Nothing here decides anything about real servers.
"""
