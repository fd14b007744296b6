"""The handshake without a wire: what is said, and who is not believed."""

import hashlib
import hmac
import os

import pytest

from elaunch_rdzv_c10d.handshake import (
    ClientHandshake,
    DeniedError,
    ServerHandshake,
    UntrustedError,
)
from elaunch_rdzv_c10d.job_token import Token
from elaunch_rdzv_c10d.messages import Challenge, Hello, Proof, Welcome, frame


TOKEN = Token(b"correct horse battery staple")
OTHER = Token(b"correct horse battery stapler")
HELLO = Hello("job", 0.5, session="a secret")


def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client's number be 32 times 01, the server's 32 times 02."""
    drawn = iter([b"\x01" * 32, b"\x02" * 32])
    monkeypatch.setattr(os, "urandom", lambda _: next(drawn))


def challenge_of(server: ServerHandshake, hello: Hello) -> Challenge:
    challenge = server.take_hello(hello)
    assert challenge
    return challenge


def signed(role: bytes) -> bytes:
    parts = role, b"\x01" * 32, b"\x02" * 32, b"job", b"store"
    framed = b"".join(bytes([0, 0, 0, len(part)]) + part for part in parts)
    return hmac.new(TOKEN.secret, framed, hashlib.sha256).digest()


def test_golden_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers(monkeypatch)
    client, server = ClientHandshake(HELLO, TOKEN), ServerHandshake("store", TOKEN)
    hello = client.hello()
    challenge = challenge_of(server, hello)
    proof = client.answer(challenge)
    wanted, mac = server.take_proof(proof)

    ones, twos = "AQEB" * 10 + "AQE=", "AgIC" * 10 + "AgI="
    assert frame(hello)[4:].decode() == (
        f'{{"type":"hello","run_id":"job","grace":0.5,"session":null,"nonce":"{ones}"}}'
    )
    assert frame(challenge)[4:].decode() == (
        f'{{"type":"challenge","nonce":"{twos}","store":"store"}}'
    )
    assert proof.mac == signed(b"elaunch c10d 1 client")
    assert proof.mac.hex().startswith("9a906591990ea3a8")
    assert mac == signed(b"elaunch c10d 1 server")
    assert mac.hex().startswith("5edc184c57c2741f")
    assert wanted.session == "a secret"
    client.check(Welcome("a secret", resumed=True, store="store", run_id="j", mac=mac))


def test_without_a_token_one_message_is_enough() -> None:
    client, server = ClientHandshake(HELLO), ServerHandshake("store")

    assert client.hello() == HELLO
    assert server.take_hello(HELLO) is None
    client.check(Welcome("", resumed=False, store="any", run_id=""))


def test_nothing_secret_is_said_before_the_proof() -> None:
    hello = frame(ClientHandshake(HELLO, TOKEN).hello())

    assert b"a secret" not in hello
    assert TOKEN.secret not in hello


class TestTheServer:
    def test_wants_the_token_if_it_has_one(self) -> None:
        with pytest.raises(DeniedError, match="asks for the job's token; give"):
            ServerHandshake("store", TOKEN).take_hello(HELLO)

    def test_says_so_if_it_has_none(self) -> None:
        hello = ClientHandshake(HELLO, TOKEN).hello()

        with pytest.raises(DeniedError, match="without the token that you have"):
            ServerHandshake("store").take_hello(hello)

    def test_does_not_believe_another_token(self) -> None:
        server = ServerHandshake("store", TOKEN)
        client = ClientHandshake(HELLO, OTHER)
        proof = client.answer(challenge_of(server, client.hello()))

        with pytest.raises(DeniedError, match="the token is not this job's"):
            server.take_proof(proof)

    def test_does_not_believe_what_was_said_to_another_or_for_another_job(self) -> None:
        server, elsewhere = ServerHandshake("a", TOKEN), ServerHandshake("b", TOKEN)
        client = ClientHandshake(HELLO, TOKEN)
        hello = client.hello()
        challenge = challenge_of(server, hello)
        challenge_of(elsewhere, hello)
        proof = client.answer(challenge)
        job = Hello("another", 0.5, nonce=hello.nonce)
        third = ServerHandshake("a", TOKEN)
        third.take_hello(job)

        for other in (elsewhere, third):
            with pytest.raises(DeniedError):
                other.take_proof(proof)
        assert server.take_proof(proof)

    def test_hears_hello_once(self) -> None:
        server = ServerHandshake("store", TOKEN)
        client = ClientHandshake(HELLO, TOKEN)
        proof = client.answer(challenge_of(server, client.hello()))

        with pytest.raises(DeniedError, match="hello was said before"):
            server.take_hello(client.hello())
        assert server.take_proof(proof)

    def test_takes_a_proof_once(self) -> None:
        server = ServerHandshake("store", TOKEN)
        client = ClientHandshake(HELLO, TOKEN)
        proof = client.answer(challenge_of(server, client.hello()))
        server.take_proof(proof)

        with pytest.raises(DeniedError, match="nothing was to be proven"):
            server.take_proof(proof)

    def test_takes_no_second_guess(self) -> None:
        server = ServerHandshake("store", TOKEN)
        client = ClientHandshake(HELLO, TOKEN)
        proof = client.answer(challenge_of(server, client.hello()))
        with pytest.raises(DeniedError):
            server.take_proof(Proof(b"a guess"))

        with pytest.raises(DeniedError):
            server.take_proof(proof)

    def test_takes_no_proof_that_it_did_not_ask_for(self) -> None:
        with pytest.raises(DeniedError):
            ServerHandshake("store").take_proof(Proof(b""))

    def test_does_not_sign_what_could_answer_itself(self) -> None:
        """Its own words, sent back in another connection, prove nothing."""
        victim, other = ServerHandshake("store", TOKEN), ServerHandshake("store", TOKEN)
        thief = ClientHandshake(HELLO, TOKEN)
        _, mac = victim.take_proof(thief.answer(challenge_of(victim, thief.hello())))
        challenge_of(other, thief.hello())

        with pytest.raises(DeniedError):
            other.take_proof(Proof(mac))


class TestTheClient:
    def test_is_not_content_with_a_server_that_asks_for_nothing(self) -> None:
        client = ClientHandshake(HELLO, TOKEN)
        client.hello()

        with pytest.raises(UntrustedError, match="does not ask for the token"):
            client.check(Welcome("", resumed=False, store="store", run_id="job"))

    @pytest.mark.parametrize("reflected", [True, False])
    def test_does_not_believe_a_server_without_the_token(
        self, *, reflected: bool
    ) -> None:
        client = ClientHandshake(HELLO, TOKEN)
        client.hello()
        proof = client.answer(Challenge(b"any number", "store"))
        mac = proof.mac if reflected else b""

        with pytest.raises(UntrustedError, match="does not know the token"):
            client.check(Welcome("", resumed=False, store="store", run_id="", mac=mac))

    def test_does_not_believe_that_one_store_is_another(self) -> None:
        client, server = ClientHandshake(HELLO, TOKEN), ServerHandshake("a", TOKEN)
        proof = client.answer(challenge_of(server, client.hello()))
        _, mac = server.take_proof(proof)

        with pytest.raises(UntrustedError):
            client.check(Welcome("", resumed=False, store="b", run_id="job", mac=mac))

    def test_answers_once(self) -> None:
        client = ClientHandshake(HELLO, TOKEN)
        client.answer(Challenge(b"any number", "store"))

        with pytest.raises(UntrustedError, match="out of turn"):
            client.answer(Challenge(b"another", "store"))

    def test_answers_nothing_without_a_token(self) -> None:
        with pytest.raises(UntrustedError, match="out of turn"):
            ClientHandshake(HELLO).answer(Challenge(b"any number", "store"))
