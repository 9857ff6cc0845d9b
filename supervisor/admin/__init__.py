"""ROOM: the operator's socket.

`protocol` is the language (pure), `server` answers on a Unix socket, `client` asks, `words` and whatever ends in it turn answers into
what a terminal shows. What a request means is not decided here: `wiring` hands over one function for each verb.
"""
