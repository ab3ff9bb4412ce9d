"""One client's protocol state, as a machine without I/O: bytes in, bytes and commands out.

``session``        the whole: what its owner calls
``observing``      a session that changes nothing, and has the audit write what would have been done
``outbox``         what it wants done
``startup``        first byte to first ReadyForQuery: parameters, authentication, the session's own query
``requests``       what becomes of each client message: relayed, decided, held, or replaced by one that fails upstream
``queries``        simple queries: sent whole, in parts, or as messages of the extended protocol
``binding``        Bind and Execute, where prepared statements are decided
``cursors``        whether a cursor or portal may go on, and what FETCH shows
``answers``        what each upstream message is the answer to, and what the client sees of it
``doubts``         whether what the upstream answers late is the answer to what was decided
``migrations``     changes of the schema that sessions are about to commit
``replies``        the queue of answers that are expected
``dialogue``       the state that requests and answers share
``names``          what statement and portal names stand for while changes are in flight
``hidden``         statements that the session runs on its own
``naming``         names of relations that came or went since a statement was prepared
``statements``     prepared statements and portals
``transaction``    transactions and what they roll back: settings, ``overlay`` of relations
``inquiry``        questions of our own to the upstream, between the client's messages
``isolation``      how old the snapshot of a transaction is
``circumstances``  the context of verdicts, kept current
``commits``        what statements of a transaction left to its COMMIT
``loads``          COPY FROM STDIN into tables whose rows are checked: ``loading`` one, ``copied`` its rows
``checks``         checks of written rows that a statement carries: what of its answers is theirs
``subjects``       whom the parameters of a statement name
``events``         the audit's events
``errors``         errors and notices as the client may see them
``reasons``        refusals and endings that the protocol demands
"""

from proxy.session.circumstances import CatalogSource, OwnCatalog, PolicyHolder
from proxy.session.encryption import ClientEncryption
from proxy.session.inquiry import Answer
from proxy.session.observing import ObservingSession
from proxy.session.outbox import (
    Cancel,
    CancelOwn,
    CheckPlan,
    Close,
    Command,
    ConfirmCatalog,
    Connect,
    Decide,
    Fault,
    LoadCatalog,
    Outbox,
    ReadOwnCatalog,
    StartTls,
)
from proxy.session.session import Session, Surroundings

__all__ = [
    "Answer",
    "Cancel",
    "CancelOwn",
    "CatalogSource",
    "CheckPlan",
    "ClientEncryption",
    "Close",
    "Command",
    "ConfirmCatalog",
    "Connect",
    "Decide",
    "Fault",
    "LoadCatalog",
    "ObservingSession",
    "Outbox",
    "OwnCatalog",
    "PolicyHolder",
    "ReadOwnCatalog",
    "Session",
    "StartTls",
    "Surroundings",
]
