"""Who gets which rank."""

from elaunch.membership.ranks import Candidate, choose, memberships, order
from elaunch.rendezvous import NodeFacts


def candidate(
    name: str,
    joined: int,
    *,
    previous: int | None = None,
    slot: int | None = None,
    workers: int = 1,
    role: str = "default",
) -> Candidate:
    facts = NodeFacts(
        host=name, address=name, local_world_size=workers, role=role, slot=slot
    )
    return Candidate(node_id=name, facts=facts, joined=joined, previous_rank=previous)


def names(candidates: tuple[Candidate, ...]) -> list[str]:
    return [c.node_id for c in candidates]


class TestChoose:
    def test_previous_members_come_before_spares(self) -> None:
        spare = candidate("spare", 1)
        member = candidate("member", 9, previous=0)

        assert names(choose([spare, member], 1)) == ["member"]

    def test_spares_come_in_the_order_of_joining(self) -> None:
        late, early = candidate("late", 7), candidate("early", 3)

        assert names(choose([late, early], 1)) == ["early"]

    def test_a_given_slot_comes_before_the_order_of_joining(self) -> None:
        early, slotted = candidate("early", 1), candidate("slotted", 5, slot=1)

        assert names(choose([early, slotted], 1)) == ["slotted"]


class TestOrder:
    def test_first_formation_is_in_the_order_of_joining(self) -> None:
        nodes = [candidate("b", 2), candidate("a", 1), candidate("c", 3)]

        assert names(order(nodes)) == ["a", "b", "c"]

    def test_members_keep_their_ranks_and_a_replacement_takes_the_free_one(
        self,
    ) -> None:
        nodes = [
            candidate("c", 3, previous=2),
            candidate("new", 9),
            candidate("a", 1, previous=0),
        ]

        assert names(order(nodes)) == ["a", "new", "c"]

    def test_a_rank_beyond_the_size_fills_the_gap(self) -> None:
        nodes = [candidate("a", 1, previous=0), candidate("c", 3, previous=2)]

        assert names(order(nodes)) == ["a", "c"]

    def test_given_slots_win_over_previous_ranks(self) -> None:
        nodes = [
            candidate("a", 1, previous=0),
            candidate("b", 2, previous=1),
            candidate("wants-0", 9, slot=0),
        ]

        assert names(order(nodes)) == ["wants-0", "b", "a"]

    def test_two_nodes_with_one_slot_both_get_a_rank(self) -> None:
        nodes = [candidate("a", 1, slot=0), candidate("b", 2, slot=0)]

        assert names(order(nodes)) == ["a", "b"]

    def test_slots_beyond_the_size_keep_their_order(self) -> None:
        nodes = [candidate("late", 1, slot=7), candidate("early", 2, slot=5)]

        assert names(order(nodes)) == ["early", "late"]


class TestMemberships:
    def test_uneven_roles_are_the_running_sums_of_the_contract(self) -> None:
        """The example of torchelastic: ps/4, tr/1, tr/2, tr/3, ps/5."""
        nodes = [
            candidate("0", 0, workers=4, role="ps"),
            candidate("1", 1, workers=1, role="tr"),
            candidate("2", 2, workers=2, role="tr"),
            candidate("3", 3, workers=3, role="tr"),
            candidate("4", 4, workers=5, role="ps"),
        ]

        places = memberships(nodes, generation=3, restart_count=1, reason="why")

        assert [p.base_rank for p in places] == [0, 4, 5, 7, 10]
        assert [p.base_role_rank for p in places] == [0, 0, 1, 3, 4]
        assert [p.role_world_size for p in places] == [9, 6, 6, 6, 9]
        assert {p.world_size for p in places} == {15}
        assert [p.group_rank for p in places] == [0, 1, 2, 3, 4]
        assert {(p.generation, p.restart_count, p.reason) for p in places} == {
            (3, 1, "why")
        }
