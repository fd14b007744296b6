import pytest

from elaunch.api import ABSENT, Keyspace, StoreEvent, UnknownLease, WatchCompacted


class TestRevisions:
    def test_every_change_has_its_own(self) -> None:
        keyspace = Keyspace()

        first = keyspace.put("a", b"0")
        second = keyspace.put("b", b"0")
        keyspace.delete("a")

        assert [first, second, keyspace.revision] == [1, 2, 3]

    def test_what_changes_nothing_has_none(self) -> None:
        keyspace = Keyspace()
        keyspace.put("a", b"0")

        assert keyspace.compare_and_set("a", b"1", ABSENT) is None
        assert not keyspace.delete("b")
        assert not keyspace.delete("a", expected=7)
        assert keyspace.revision == 1

    def test_a_listing_tells_the_one_of_the_store(self) -> None:
        keyspace = Keyspace()
        keyspace.put("b/1", b"")
        keyspace.put("a/2", b"")
        keyspace.put("a/1", b"")
        keyspace.delete("b/1")

        listing = keyspace.list("a/")

        assert [entry.key for entry in listing.entries] == ["a/1", "a/2"]
        assert listing.revision == 4


class TestLeases:
    def test_expire_with_their_keys(self) -> None:
        keyspace = Keyspace()
        lease = keyspace.grant(ttl=10, now=100)
        keyspace.put("a", b"", lease)
        keyspace.put("b", b"")

        keyspace.expire(now=109)
        before = keyspace.get("a")
        keyspace.expire(now=110)

        assert before is not None
        assert keyspace.get("a") is None
        assert keyspace.get("b") is not None

    def test_live_on_when_renewed(self) -> None:
        keyspace = Keyspace()
        lease = keyspace.grant(ttl=10, now=100)
        keyspace.put("a", b"", lease)

        renewed = keyspace.renew(lease, now=109)
        keyspace.expire(now=118)

        assert renewed
        assert keyspace.get("a") is not None
        assert keyspace.next_deadline() == 119

    def test_are_gone_when_they_are_gone(self) -> None:
        keyspace = Keyspace()
        lease = keyspace.grant(ttl=10, now=0)
        keyspace.revoke(lease)
        keyspace.revoke(lease)

        assert not keyspace.renew(lease, now=0)
        assert keyspace.next_deadline() is None
        with pytest.raises(UnknownLease):
            keyspace.put("a", b"", lease)
        with pytest.raises(UnknownLease):
            keyspace.compare_and_set("a", b"", ABSENT, lease)
        assert keyspace.get("a") is None

    def test_a_refused_put_leaves_the_key_as_it_was(self) -> None:
        keyspace = Keyspace()
        lease = keyspace.grant(ttl=10, now=0)
        keyspace.put("a", b"kept", lease)

        with pytest.raises(UnknownLease):
            keyspace.put("a", b"refused", lease + 1)
        keyspace.revoke(lease)

        assert keyspace.get("a") is None

    def test_a_key_belongs_to_the_lease_of_its_last_write(self) -> None:
        keyspace = Keyspace()
        first, second = keyspace.grant(10, 0), keyspace.grant(10, 0)
        keyspace.put("a", b"", first)
        keyspace.put("a", b"", second)
        keyspace.put("b", b"", first)
        keyspace.put("b", b"")

        keyspace.revoke(first)
        after_first = [entry.key for entry in keyspace.list("").entries]
        keyspace.revoke(second)

        assert after_first == ["a", "b"]
        assert [entry.key for entry in keyspace.list("").entries] == ["b"]

    def test_a_deleted_key_can_come_back_without_its_lease(self) -> None:
        keyspace = Keyspace()
        lease = keyspace.grant(10, 0)
        keyspace.put("a", b"", lease)
        keyspace.delete("a")
        keyspace.put("a", b"")

        keyspace.revoke(lease)

        assert keyspace.get("a") is not None

    def test_the_next_deadline_is_the_earliest(self) -> None:
        keyspace = Keyspace()
        keyspace.grant(ttl=30, now=0)
        short = keyspace.grant(ttl=10, now=5)

        assert keyspace.next_deadline() == 15
        keyspace.revoke(short)
        assert keyspace.next_deadline() == 30


class TestWatches:
    def test_begin_with_the_past(self) -> None:
        keyspace = Keyspace()
        seen: list[StoreEvent] = []
        keyspace.put("a/1", b"0")
        keyspace.put("b/1", b"0")
        keyspace.put("a/1", b"1")
        keyspace.delete("a/1")

        keyspace.subscribe("a/", 1, seen.append)
        keyspace.put("a/2", b"2")

        assert seen == [
            StoreEvent("a/1", b"1", 3),
            StoreEvent("a/1", None, 4),
            StoreEvent("a/2", b"2", 5),
        ]

    def test_end_when_unsubscribed(self) -> None:
        keyspace = Keyspace()
        ended: list[StoreEvent] = []
        going_on: list[StoreEvent] = []
        subscription = keyspace.subscribe("a", 0, ended.append)
        keyspace.subscribe("a", 0, going_on.append)

        keyspace.unsubscribe(subscription)
        keyspace.unsubscribe(subscription)
        keyspace.put("a", b"")

        assert ended == []
        assert len(going_on) == 1

    def test_may_unsubscribe_while_they_are_told(self) -> None:
        keyspace = Keyspace()
        seen: list[str] = []

        def deliver_once(event: StoreEvent) -> None:
            seen.append(event.key)
            keyspace.unsubscribe(subscription)

        subscription = keyspace.subscribe("a", 0, deliver_once)
        keyspace.subscribe("a", 0, lambda event: seen.append(event.key))
        keyspace.put("a", b"0")
        keyspace.put("a", b"1")

        assert seen == ["a", "a", "a"]

    def test_see_the_keys_of_a_lease_go(self) -> None:
        keyspace = Keyspace()
        seen: list[StoreEvent] = []
        lease = keyspace.grant(10, 0)
        keyspace.put("a", b"", lease)
        keyspace.subscribe("", keyspace.revision, seen.append)

        keyspace.expire(now=10)

        assert seen == [StoreEvent("a", None, 2)]

    def test_can_begin_where_the_history_begins_but_no_earlier(self) -> None:
        keyspace = Keyspace(history=2)
        seen: list[StoreEvent] = []
        for number in range(4):
            keyspace.put("a", b"%d" % number)

        with pytest.raises(WatchCompacted):
            keyspace.subscribe("a", 1, seen.append)
        refused = list(seen)
        keyspace.subscribe("a", 2, seen.append)

        assert refused == []
        assert [event.revision for event in seen] == [3, 4]
