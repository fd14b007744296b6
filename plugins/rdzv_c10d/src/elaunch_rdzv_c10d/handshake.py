"""Who may use a control store: both sides show that they have the job's token. No I/O.

Each side signs two random numbers, one of either side, so that what was recorded once
shows nothing later. The client shows it first; whoever has not heard from a client that
has the token gets nothing that is signed. What is signed names who signs it: no side
can be answered with its own words.
"""

import os

import attrs
import msgspec

from elaunch_rdzv_c10d.job_token import Token, is_same
from elaunch_rdzv_c10d.messages import Challenge, Hello, Proof, Welcome


_CLIENT = b"elaunch c10d 1 client"
_SERVER = b"elaunch c10d 1 server"
_NONCE_SIZE = 32

_NEEDED = (
    "this store asks for the job's token; give --rdzv-conf token_file=PATH, or set "
    "ELAUNCH_RDZV_TOKEN"
)


class HandshakeError(Exception):
    """There can be no session with whatever is at the other end."""


class DeniedError(HandshakeError):
    """The other side is not let in, or does not let us in."""


class UntrustedError(HandshakeError):
    """The other side does not show that it is what we look for."""


@attrs.define(eq=False, repr=False)
class ClientHandshake:
    """The client's side of one handshake.

    Attributes:
        wanted: What the client would say if there were no token.
        token: The job's token.
    """

    wanted: Hello
    token: Token | None = None
    _nonce: bytes = attrs.field(init=False)
    _challenge: Challenge | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._nonce = os.urandom(_NONCE_SIZE) if self.token else b""

    def hello(self) -> Hello:
        """Return what opens it; nothing in it is secret if there is a token."""
        if not self.token:
            return self.wanted
        return Hello(self.wanted.run_id, self.wanted.grace, nonce=self._nonce)

    def answer(self, challenge: Challenge) -> Proof:
        """Return the proof that the server asks for.

        Raises:
            UntrustedError: If it can't be given, or was given before.
        """
        if not self.token or self._challenge or not challenge.nonce:
            raise UntrustedError("it asks for a proof out of turn")
        self._challenge = challenge
        return Proof(self._sign(_CLIENT, self.token, challenge), self.wanted.session)

    def check(self, welcome: Welcome) -> None:
        """Check who it is that welcomes.

        Raises:
            UntrustedError: If it does not show that it has our token.
        """
        if not self.token:
            return
        challenge = self._challenge
        if not challenge:
            raise UntrustedError("it does not ask for the token that this node has")
        expected = self._sign(_SERVER, self.token, challenge)
        if challenge.store != welcome.store or not is_same(expected, welcome.mac):
            raise UntrustedError("it does not know the token that this node has")

    def _sign(self, role: bytes, token: Token, challenge: Challenge) -> bytes:
        return _sign(role, token, self._nonce, self.wanted.run_id, challenge)


@attrs.define(eq=False, repr=False)
class ServerHandshake:
    """The server's side of one handshake.

    Attributes:
        store: Id of the store.
        token: The job's token.
    """

    store: str
    token: Token | None = None
    _hello: Hello | None = attrs.field(default=None, init=False)
    _challenge: Challenge | None = attrs.field(default=None, init=False)

    def take_hello(self, hello: Hello) -> Challenge | None:
        """Return what the client has to answer; `None` if it is let in as it is.

        Raises:
            DeniedError: If one side has a token and the other has none, or the client
                has said it before: who does so for ever would never count as silent.
        """
        if self._hello:
            raise DeniedError("hello was said before")
        if self.token and not hello.nonce:
            raise DeniedError(_NEEDED)
        if not self.token:
            if hello.nonce:
                raise DeniedError(
                    "this store was started without the token that you have"
                )
            return None
        self._hello = hello
        self._challenge = Challenge(os.urandom(_NONCE_SIZE), self.store)
        return self._challenge

    def take_proof(self, proof: Proof) -> tuple[Hello, bytes]:
        """Return what the client wants, and our own proof for it.

        Raises:
            DeniedError: If it does not have the token.
        """
        hello, challenge, token = self._hello, self._challenge, self.token
        self._challenge = None  # it is good for one answer
        if not hello or not challenge or not token:
            raise DeniedError("nothing was to be proven")
        known = hello.nonce, hello.run_id, challenge
        if not is_same(_sign(_CLIENT, token, *known), proof.mac):
            raise DeniedError("the token is not this job's")
        wanted = msgspec.structs.replace(hello, session=proof.session)
        return wanted, _sign(_SERVER, token, *known)


def _sign(
    role: bytes, token: Token, nonce: bytes, run_id: str, challenge: Challenge
) -> bytes:
    job, store = run_id.encode(), challenge.store.encode()
    return token.sign(role, nonce, challenge.nonce, job, store)
