"""From the first byte to the first ReadyForQuery (manual, 55.2.1): what the client asks for, the upstream's own
authentication passing through, and what the session must know of itself before its first statement.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from proxy.catalog.model import Catalog
from proxy.errors import FEATURE_NOT_SUPPORTED, INSUFFICIENT_PRIVILEGE, ProtocolViolation, Refusal
from proxy.policy.model import Policy
from proxy.session.answers import PINNED
from proxy.session.circumstances import PolicyHolder
from proxy.session.encryption import INVALID_AUTHORIZATION, ClientEncryption, unencrypted_data
from proxy.session.outbox import Cancel, Close, Connect, LoadCatalog, Outbox, StartTls
from proxy.session.reasons import TOO_MANY_CONNECTIONS, SessionOver, StateLost, no_policy
from proxy.verdict import Context, Engine
from proxy.wire import backend, frontend, startup
from proxy.wire.client import ClientMessages, Form
from proxy.wire.upstream import UpstreamMessages

if TYPE_CHECKING:
    from proxy.session.login import PasswordLogin

DECLARED: Final = ("consentry.purpose", "consentry.actor", "consentry.subject", "consentry.notify")
"""Settings that a client declares and nobody else may."""

_KNOWN: Final = (*PINNED, "search_path", "role", *DECLARED, "default_transaction_isolation")

_VALUES: Final = ", ".join(f"pg_catalog.current_setting('{name}', true)" for name in _KNOWN)

_ALTERED: Final = """EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s CROSS JOIN pg_catalog.unnest(s.setconfig) AS c
  WHERE pg_catalog.starts_with(pg_catalog.lower(c), 'consentry.')
  AND (s.setrole OPERATOR(pg_catalog.=) '0'::pg_catalog.oid OR s.setrole OPERATOR(pg_catalog.=)
   (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) session_user))
  AND (s.setdatabase OPERATOR(pg_catalog.=) '0'::pg_catalog.oid OR s.setdatabase OPERATOR(pg_catalog.=) (
   SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())))"""
"""A consentry setting stands in ALTER ROLE or ALTER DATABASE … SET."""

PROBE: Final = (f"SELECT session_user, current_user, pg_catalog.current_database(), {_VALUES}, {_ALTERED}").encode()
"""Asks the upstream who the session is. Schema-qualified throughout: its search_path may be anybody's."""


_ENCRYPTION: Final = {startup.SSL_REQUEST: "SSL", startup.GSSENC_REQUEST: "GSSAPI encryption"}
"""Requests for encryption, as PostgreSQL's errors call them."""

_QUERY_CANCELED: Final = "57014"
_MAX_INTERRUPTIONS: Final = 3
"""Of the probe. A statement_timeout that is too short for it would interrupt it for ever."""


class Phase(Enum):
    """How far the start has come."""

    PACKETS = auto()
    """The client's StartupMessage has not come."""
    CONNECTING = auto()
    AUTHENTICATING = auto()
    SETTLING = auto()
    """Logged in; the upstream has not said that it is ready."""
    PROBING = auto()
    DONE = auto()


class Startup:
    """One session's start. ``facts`` holds what the probe said, when DONE; ``start`` the tracked settings;
    ``notices`` and ``ready`` what the upstream said at its end, which the client gets when the session is admitted.
    ``lenient``: what the policy would refuse goes on."""

    def __init__(
        self,
        engine: Engine,
        policies: PolicyHolder,
        outbox: Outbox,
        client: ClientMessages,
        upstream: UpstreamMessages,
        current: Callable[[str], Catalog],
    ) -> None:
        self.phase = Phase.PACKETS
        self.parameters: dict[str, str] = {}
        self.role = ""
        self.database = ""
        self.application = ""
        self.start: dict[str, str] = {}
        self.isolation = ""
        self.ready = b""
        self.notices = b""
        self.cancel = b""
        self.full = False
        self.encryption: ClientEncryption | None = None
        self.passwords = False
        self.lenient = False
        self.upstream_ending: str | None = None
        self._engine = engine
        self._policies = policies
        self._outbox = outbox
        self._client = client
        self._upstream = upstream
        self._current = current
        self._upstream.read_rows = True
        self._packets = b""
        self._asked: set[tuple[int, int]] = set()
        self._declared: dict[str, str] = {}
        self._message = b""
        self._encrypted = False
        self._certificate: str | None = None
        self._private = False
        self._challenged = False
        self._login: PasswordLogin | None = None
        self._row: list[bytes | None] | None = None
        self._interruptions = 0
        self._login_judged = False

    @property
    def purpose(self) -> str | None:
        """The purpose that the client declares, as far as it is known."""
        return self.start.get("consentry.purpose") or self._declared.get("consentry.purpose") or None

    # --- client -------------------------------------------------------------------------------------------------------

    def client_data(self, data: bytes) -> None:
        if self.phase is Phase.PACKETS:
            self._packets += data
            while self.phase is Phase.PACKETS and self._next_packet():
                pass
        else:
            self._client.feed(data)
            self.advance()

    def client_encrypted(self, certificate: str | None) -> None:
        """The handshake is over. Neither kind of encryption can be asked for any more."""
        self._encrypted = True
        self._certificate = certificate
        self._asked = {*_ENCRYPTION}

    def _next_packet(self) -> bool:
        if self._packets[:1] == bytes((startup.TLS_HANDSHAKE,)) and not self._asked:
            self._direct_tls()
            return False
        packet = startup.next_packet(self._packets)
        if packet is None:
            return False
        self._packets = self._packets[len(packet.whole) :]
        if packet.version == startup.CANCEL_REQUEST:
            self._outbox.commands.append(Cancel(packet.whole))
            self._packets = b""
            return False
        if packet.version in _ENCRYPTION and packet.version not in self._asked:
            self._encryption_request(packet.version)
            return False
        self._startup_message(packet)
        return True

    def _direct_tls(self) -> None:
        received, self._packets = self._packets, b""
        if self.encryption is not None:
            self._outbox.commands.append(StartTls(received, direct=True))
        else:
            self._outbox.client.append(startup.TLS_HANDSHAKE_FAILURE)
            self._outbox.commands.append(Close())

    def _encryption_request(self, code: tuple[int, int]) -> None:
        self._asked.add(code)
        accepted = code == startup.SSL_REQUEST and self.encryption is not None
        if not accepted:
            self._outbox.client.append(b"N")
        if self._packets:
            raise unencrypted_data(_ENCRYPTION[code])
        if accepted:
            self._outbox.client.append(b"S")
            self._outbox.commands.append(StartTls())

    def _startup_message(self, packet: startup.Packet) -> None:
        if packet.version[0] != 3:
            major, minor = packet.version
            raise SessionOver(
                FEATURE_NOT_SUPPORTED, f"unsupported frontend protocol {major}.{minor}: server supports 3.0"
            )
        if self.full:
            raise SessionOver(TOO_MANY_CONNECTIONS, "sorry, too many clients already")
        self.parameters = startup.read_parameters(packet)
        if self.encryption is not None:
            role = self.parameters.get("user", "")
            self.encryption.check(role, encrypted=self._encrypted, certificate=self._certificate)
        database = self.parameters.get("database") or self.parameters.get("user", "")
        policy = self._policies.of(database)
        if policy is None:
            raise no_policy(database)
        judged = self._engine.check_startup(self.parameters, policy)
        if isinstance(judged, Refusal):
            if not self.lenient or judged.sqlstate != INSUFFICIENT_PRIVILEGE:
                raise SessionOver.refused(judged)
            judged = {}
        self._declared = judged
        if not self.lenient:
            self._judge_login(database, policy)
        self._message = packet.whole
        self.phase = Phase.CONNECTING
        self._client.feed(self._packets)
        self._packets = b""
        self._outbox.commands.append(Connect())

    def _judge_login(self, database: str, policy: Policy) -> None:
        """The start itself may run code upstream. Where no catalog is known yet, that is judged when it is over."""
        role = self.parameters.get("user", "")
        try:
            catalog = self._current(database)
        except Exception:  # there is none, or none that can be relied upon
            return
        refusal = self._engine.admit(Context(database, role, role, {}, None, catalog, policy))
        if refusal is not None:
            raise SessionOver.refused(refusal)
        self._login_judged = True

    def upstream_connected(self, private: bool) -> None:
        """``private``: by TLS or on the same machine, so that a password may go there as it is."""
        self._private = private
        self._outbox.upstream.append(self._message)
        self._message = b""
        self.phase = Phase.AUTHENTICATING

    def advance(self) -> None:
        """Passes answers to the upstream's challenges on. Anything else the client sends early waits its turn."""
        while self._challenged:
            frame = self._client.take()
            if frame is None:
                return
            if frame.kind == frontend.TERMINATE:
                self._outbox.commands.append(Close())
                return
            if frame.kind != frontend.PASSWORD or frame.form is not Form.WHOLE:
                raise ProtocolViolation(f"expected password response, got message type {frame.kind}")
            self._challenged = False
            self._outbox.upstream.append(frame.data if self._login is None else self._login.begin(frame.data))

    # --- upstream -----------------------------------------------------------------------------------------------------

    def judge(self, kind: int, whole: bytes) -> bytes | None:
        """As :meth:`proxy.session.answers.Answers.judge`."""
        match kind:
            case backend.ERROR_RESPONSE:
                return self._error(whole)
            case backend.NOTICE_RESPONSE:
                return self._notice(whole)
            case backend.PARAMETER_STATUS:
                name, value = backend.read_parameter(whole)
                if name == "application_name":
                    self.application = value
                return None
            case backend.AUTHENTICATION if self.phase is Phase.AUTHENTICATING:
                return self._authentication(whole)
            case backend.NEGOTIATE_PROTOCOL_VERSION if self.phase is Phase.AUTHENTICATING:
                return None
            case backend.BACKEND_KEY_DATA if self.phase is Phase.SETTLING:
                self.cancel = startup.request(startup.CANCEL_REQUEST, whole[5:])
                return None
            case backend.READY_FOR_QUERY if self.phase is Phase.SETTLING:
                self.ready = whole
                self.phase = Phase.PROBING
                self._outbox.upstream.append(frontend.query(PROBE))
                return b""
            case _ if self.phase is Phase.PROBING:
                return self._probed(kind, whole)
        raise StateLost(f"unexpected message {chr(kind)} from the upstream during startup")

    def _notice(self, whole: bytes) -> bytes | None:
        """Code that the start of the session runs may say what it likes, so this waits for the session's admission."""
        if self.phase is not Phase.SETTLING or self.lenient:
            return None
        self.notices += whole
        return b""

    def _authentication(self, whole: bytes) -> bytes | None:
        code = backend.read_authentication(whole)
        if self._login is not None:
            return self._logging_in(self._login, code, whole)
        if code == backend.AUTHENTICATION_OK:
            self.phase = Phase.SETTLING
            return None
        self._challenged = code != backend.AUTHENTICATION_SASL_FINAL
        asks = self.passwords and self._encrypted
        if code == backend.AUTHENTICATION_SASL and asks:
            # Only now: its library and what that brings take 2 MB, and few configurations need it.
            from proxy.session.login import PasswordLogin

            self._login = PasswordLogin(self.parameters.get("user", ""), backend.read_mechanisms(whole))
            return backend.authentication(backend.AUTHENTICATION_CLEARTEXT_PASSWORD)
        if code == backend.AUTHENTICATION_CLEARTEXT_PASSWORD and asks and not self._private:
            raise SessionOver(
                INVALID_AUTHORIZATION,
                "consentry: the upstream asks for the password in clear text on a connection without TLS",
            )
        return backend.without_channel_binding(whole) if code == backend.AUTHENTICATION_SASL else None

    def _logging_in(self, login: PasswordLogin, code: int, whole: bytes) -> bytes | None:
        match code:
            case backend.AUTHENTICATION_SASL_CONTINUE:
                self._outbox.upstream.append(login.answer(whole))
                return b""
            case backend.AUTHENTICATION_SASL_FINAL:
                login.finish(whole)
                return b""
            case backend.AUTHENTICATION_OK if login.verified:
                self._login = None
                self.phase = Phase.SETTLING
                return None
        raise StateLost("the upstream changed the method of authentication")

    def _error(self, whole: bytes) -> bytes | None:
        if self.phase is Phase.PROBING:
            fields = backend.read_fields(whole)
            if fields.get("C") == _QUERY_CANCELED and self._interruptions < _MAX_INTERRUPTIONS:
                # The client holds its key already; PostgreSQL would have been idle by now.
                self._interruptions += 1
                return b""
            raise SessionOver(fields.get("C", "XX000"), "consentry: the session's settings cannot be read")
        fields = backend.read_fields(whole)
        self.upstream_ending = fields.get("C", "")
        if "W" in fields and self.phase is Phase.SETTLING and not (self.lenient or self._login_judged):
            # Said by code, an event trigger's, of which nobody knows yet whether it is trusted.
            raise SessionOver(self.upstream_ending, "consentry: code of the upstream refused the session")
        return None

    def _probed(self, kind: int, whole: bytes) -> bytes | None:
        match kind:
            case backend.ROW_DESCRIPTION | backend.COMMAND_COMPLETE:
                return b""
            case backend.DATA_ROW:
                self._row = backend.read_row(whole)
                return b""
            case backend.READY_FOR_QUERY if self._row is None and self._interruptions:
                self._outbox.upstream.append(frontend.query(PROBE))
                return b""
            case backend.READY_FOR_QUERY if self._row is not None:
                self._upstream.read_rows = False
                self.phase = Phase.DONE
                self._learn([None if value is None else value.decode("utf-8", "replace") for value in self._row])
                self._outbox.commands.append(LoadCatalog(self.database))
                return b""
        raise StateLost(f"unexpected message {chr(kind)} from the upstream during startup")

    def _learn(self, row: list[str | None]) -> None:
        session_user, current_user, database, *values, altered = row
        settings = dict(zip(_KNOWN, values, strict=True))
        for name, pinned in PINNED.items():
            if settings[name] != pinned:
                raise SessionOver(INSUFFICIENT_PRIVILEGE, f"consentry: {name} must be {pinned}")
        declared = {name: self._declared.get(name, "") for name in DECLARED}
        if altered != "f" or declared != {name: settings[name] or "" for name in DECLARED}:
            raise SessionOver(
                INSUFFICIENT_PRIVILEGE,
                "consentry: a consentry setting of this session was not declared by the client",
                hint="Remove it from the server's configuration and from ALTER ROLE or ALTER DATABASE … SET.",
            )
        if session_user is None or current_user is None or database is None:
            raise StateLost("the upstream does not know who the session is")
        self.role, self.database = session_user, database
        self.isolation = settings["default_transaction_isolation"] or ""
        tracked = {name: settings[name] for name in ("search_path", "role", *DECLARED)}
        self.start = {name: value for name, value in tracked.items() if value}
        self.start["session_authorization"] = session_user
