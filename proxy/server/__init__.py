"""Every socket: accept, relay, connect to the upstream, end in order. What the bytes mean is the session's matter.

``options``  what a server is told: where it listens, where the upstream is, limits
``server``   listens, keeps the links, drains
``link``     one client's connection and its upstream connection, with back-pressure both ways
``listening``  addresses that workers share; ``headcount`` how many clients all of them have, and
             ``conflicts`` how many conflicts with constraints
``admin``    HTTP for metrics, health and a console; ``seen`` what a server says of itself
``cancel``   hands a CancelRequest on
``plans``    has the upstream plan new secured texts, on connections of its own
``deliberation``  decides on long texts in a thread of its own
"""

from proxy.server.admin import AdminServer, Page
from proxy.server.conflicts import ConflictCounts
from proxy.server.headcount import Headcount
from proxy.server.options import Address, ServerOptions
from proxy.server.plans import Plans
from proxy.server.seen import Served, SessionSeen
from proxy.server.server import Server

__all__ = [
    "Address",
    "AdminServer",
    "ConflictCounts",
    "Headcount",
    "Page",
    "Plans",
    "Served",
    "Server",
    "ServerOptions",
    "SessionSeen",
]
