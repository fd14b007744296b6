import pytest

from elaunch.api import (
    ABSENT,
    Keyspace,
    KeyspaceFull,
    StoreEvent,
    UnknownLease,
    WatchCompacted,
)


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


class TestListings:
    def test_are_sorted_whatever_the_order_of_writing(self) -> None:
        keyspace = Keyspace()
        for key in ("a/2", "b", "a/10", "a/1", "a/2"):
            keyspace.put(key, key.encode())
        keyspace.delete("a/10")
        keyspace.put("a/0", b"a/0")

        entries = keyspace.list("").entries

        assert [entry.key for entry in entries] == ["a/0", "a/1", "a/2", "b"]
        assert all(entry.value == entry.key.encode() for entry in entries)

    @pytest.mark.parametrize(
        "prefix",
        ["", "a", "a/", "a/b", "a0", "b", "z", "\0", "a\U0010ffff", "\U0010ffff"],
    )
    def test_hold_what_begins_with_the_prefix(self, prefix: str) -> None:
        last = "\U0010ffff"
        keys = ["", "\0", "a", "a/", "a/b", "a/b/c", "a0", f"a{last}", f"a{last}{last}"]
        keys += [f"a{last}b", "b", "\ud7ff", "\ue000", last, last * 2, f"{last}a"]
        keyspace = Keyspace()
        for key in keys:
            keyspace.put(key, b"")

        found = [entry.key for entry in keyspace.list(prefix).entries]

        assert found == sorted(key for key in keys if key.startswith(prefix))


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

    def test_each_expires_at_its_own_last_renewal(self) -> None:
        keyspace = Keyspace()
        leases = [keyspace.grant(ttl=10, now=now) for now in range(5)]
        for lease in leases:
            keyspace.put(f"{lease}", b"", lease)
        for now, lease in ((5, leases[0]), (6, leases[3]), (7, leases[0])):
            keyspace.renew(lease, now)
        keyspace.revoke(leases[1])

        ends = []
        while (deadline := keyspace.next_deadline()) is not None:
            keyspace.expire(now=deadline - 0.5)
            before = {entry.key for entry in keyspace.list("").entries}
            keyspace.expire(now=deadline)
            after = {entry.key for entry in keyspace.list("").entries}
            ends.append((deadline, [int(key) for key in before - after]))

        assert ends == [
            (12, [leases[2]]),
            (14, [leases[4]]),
            (16, [leases[3]]),
            (17, [leases[0]]),
        ]

    def test_that_are_overdue_together_expire_together(self) -> None:
        keyspace = Keyspace()
        for ttl in (3, 1, 2, 4):
            keyspace.put(f"{ttl}", b"", keyspace.grant(ttl, now=0))

        keyspace.expire(now=3)

        assert [entry.key for entry in keyspace.list("").entries] == ["4"]
        assert keyspace.next_deadline() == 4


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

    def test_that_begin_later_see_the_same_past(self) -> None:
        keyspace = Keyspace()
        first: list[StoreEvent] = []
        second: list[StoreEvent] = []
        third: list[StoreEvent] = []
        keyspace.put("a", b"1")
        keyspace.put("b", b"2")
        keyspace.subscribe("a", 0, first.append)
        keyspace.put("a", b"3")
        keyspace.put("b", b"4")
        keyspace.subscribe("a", 0, second.append)
        keyspace.subscribe("a", 1, third.append)
        keyspace.delete("a")

        assert [event.revision for event in first] == [1, 3, 5]
        assert second == first
        assert third == first[1:]

    def test_of_a_prefix_that_nobody_watched_meanwhile_miss_nothing(self) -> None:
        keyspace = Keyspace()
        seen: list[StoreEvent] = []
        keyspace.unsubscribe(keyspace.subscribe("a", 0, seen.append))
        keyspace.put("a", b"1")

        keyspace.subscribe("a", 0, seen.append)

        assert [event.revision for event in seen] == [1]

    def test_of_nested_prefixes_are_all_told(self) -> None:
        keyspace = Keyspace()
        seen: dict[str, list[StoreEvent]] = {"": [], "a": [], "a/b": [], "b": []}
        for prefix, events in seen.items():
            keyspace.subscribe(prefix, 0, events.append)
        for key in ("a", "a/b", "c"):
            keyspace.put(key, b"")

        keys = {prefix: [e.key for e in events] for prefix, events in seen.items()}
        assert keys == {
            "": ["a", "a/b", "c"],
            "a": ["a", "a/b"],
            "a/b": ["a/b"],
            "b": [],
        }

    def test_of_a_quiet_prefix_can_begin_no_earlier_than_others(self) -> None:
        keyspace = Keyspace(history=2)
        seen: list[StoreEvent] = []
        keyspace.subscribe("a", 0, lambda _: None)
        keyspace.put("a", b"0")
        for _ in range(2):
            keyspace.put("b", b"")

        with pytest.raises(WatchCompacted):
            keyspace.subscribe("a", 0, seen.append)
        keyspace.subscribe("a", 1, seen.append)

        assert seen == []


class TestRoom:
    def test_what_does_not_fit_changes_nothing(self) -> None:
        keyspace = Keyspace(limit=10)
        keyspace.put("a", b"123456789")

        with pytest.raises(KeyspaceFull):
            keyspace.put("b", b"")
        with pytest.raises(KeyspaceFull):
            keyspace.compare_and_set("a", b"1234567890", expected=1)

        assert keyspace.revision == 1
        assert [entry.key for entry in keyspace.list("").entries] == ["a"]

    def test_what_is_shortened_or_deleted_makes_room(self) -> None:
        keyspace = Keyspace(limit=10)
        keyspace.put("a", b"123456789")
        keyspace.put("a", b"1234")
        keyspace.put("b", b"1234")
        keyspace.delete("a")
        keyspace.put("c", b"1234")

        assert [entry.key for entry in keyspace.list("").entries] == ["b", "c"]

    def test_a_past_that_is_too_large_is_forgotten(self) -> None:
        keyspace = Keyspace(history_size=10)
        seen: list[StoreEvent] = []
        keyspace.subscribe("a", 0, seen.append)
        for _ in range(3):
            keyspace.put("a", b"1234")
        again: list[StoreEvent] = []
        keyspace.subscribe("a", 1, again.append)

        assert [event.revision for event in seen] == [1, 2, 3]
        assert [event.revision for event in again] == [2, 3]
        with pytest.raises(WatchCompacted):
            keyspace.subscribe("a", 0, again.append)

    def test_a_change_that_is_larger_than_the_past_is_told_and_forgotten(self) -> None:
        keyspace = Keyspace(history_size=10)
        seen: list[StoreEvent] = []
        keyspace.subscribe("a", 0, seen.append)
        keyspace.put("a", bytes(100))

        assert [event.revision for event in seen] == [1]
        keyspace.subscribe("a", 1, seen.append)
        with pytest.raises(WatchCompacted):
            keyspace.subscribe("a", 0, seen.append)

    def test_there_is_an_end_to_leases(self) -> None:
        keyspace = Keyspace(max_leases=1)
        lease = keyspace.grant(10, now=0)

        with pytest.raises(KeyspaceFull):
            keyspace.grant(10, now=0)
        keyspace.revoke(lease)
        assert keyspace.grant(10, now=0) > lease

    def test_there_is_an_end_to_watches(self) -> None:
        keyspace = Keyspace(max_watches=2)
        seen: list[StoreEvent] = []
        first, _ = (keyspace.subscribe("a", 0, seen.append) for _ in range(2))

        with pytest.raises(KeyspaceFull):
            keyspace.subscribe("a", 0, seen.append)
        keyspace.unsubscribe(first)
        keyspace.unsubscribe(first)
        keyspace.subscribe("a", 0, seen.append)
        with pytest.raises(KeyspaceFull):
            keyspace.subscribe("a", 0, seen.append)

    def test_there_is_an_end_to_watched_prefixes(self) -> None:
        keyspace = Keyspace(max_prefixes=1)
        seen: list[StoreEvent] = []
        first = keyspace.subscribe("a", 0, seen.append)
        second = keyspace.subscribe("a", 0, seen.append)

        with pytest.raises(KeyspaceFull):
            keyspace.subscribe("b", 0, seen.append)
        keyspace.unsubscribe(first)
        keyspace.unsubscribe(second)
        keyspace.subscribe("b", 0, seen.append)
