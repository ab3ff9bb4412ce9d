"""Bytes to messages of PostgreSQL's frontend/backend protocol 3, and back (manual, chapter 55). Pure: no I/O.

``startup``   packets without a type byte, before login: StartupMessage, SSLRequest, GSSENCRequest, CancelRequest
``client``    typed messages of a client, framed in any chunking, large ones in pieces
``upstream``  message boundaries in the upstream's bytes; what nobody has to look at passes whole
``frontend``  bodies of the few client messages that must be read or built
``backend``   bodies of the few upstream messages that must be read or built

Bytes that are not protocol 3 raise :class:`proxy.errors.ProtocolViolation`.
"""
