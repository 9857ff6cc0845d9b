"""ROOM: decisions. Values in, values out.

Here lives the whole policy and nothing else: no async, no clock (`now` is an argument, trio's seconds), no randomness, no log,
no socket, no file. `events` is what can happen, `table` and `transitions` are what is told; between them `director` decides.
Imports the model, the words for numbers (`supervisor.wording`) and itself only.
"""
