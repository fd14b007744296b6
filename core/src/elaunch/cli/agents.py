"""``elaunch status``, ``drain``, ``restart`` and ``stop``: agents are asked."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import attrs

from elaunch.cli.control import ENDING
from elaunch.cli.status_text import member_lines, status_lines
from elaunch.endpoint.client import Contact, contact_at, contacts, reachable
from elaunch.endpoint.places import runtime_directory
from elaunch.endpoint.waiting import has_ended
from elaunch.errors import ControlFailed, UsageError
from elaunch.health import parse_place
from elaunch.text import printable, quoted, suggestion


TOO_LATE = 124
"""Exit status where an agent has not ended in time; that of `timeout`, too."""


@attrs.frozen
class Agent:
    """An agent that answers.

    Attributes:
        contact: Where it listens.
        status: What it says of itself.
    """

    contact: Contact
    status: dict[str, Any]

    @property
    def run_id(self) -> str:
        """Id of its job."""
        return str(self.status["run_id"])

    @property
    def endpoint(self) -> str:
        """Where the nodes of its job meet; empty if it is the only one."""
        return str(self.status["endpoint"]) if self.status["max_nodes"] > 1 else ""

    @property
    def job(self) -> tuple[object, ...]:
        """What agents of the same job have in common."""
        where = self.endpoint or self.contact
        return self.run_id, self.status["backend"], where

    @property
    def name(self) -> str:
        """What to call it."""
        return f"agent {self.status['pid']} of run {self.run_id!r}"


def run(args: argparse.Namespace) -> int:
    """Do what one of the commands asks for, and return the exit status.

    Raises:
        ControlFailed: If no agent matches, or one does not do it.
        UsageError: If it is not clear which agent is meant.
    """
    agents, silent = find(args)
    if args.command == "status":
        return _show(args, agents, silent)
    if not agents:
        raise silent[0]
    told = {"reason": args.reason} if args.reason else {}
    if args.command == "drain" and args.all:
        if args.run_id is not None:
            _of_one_job(agents)
        return max(_drain(agents, told, args.wait), _complain_of(silent))
    if silent and not _is_named(args):
        raise UsageError(
            f"{silent[0]}, and may be meant; name a job by its id, or an agent with "
            f"--agent PID"
        )
    if args.command == "drain":
        return _drain(_one(agents, ", or say --all"), told, args.wait)
    done = _ask_one(_of_one_job(agents), f"/{args.command}", told)
    _say(f"run {agents[0].run_id!r}: {done['done']}")
    return _wait_for(agents, args.wait) if args.command in ENDING else 0


def find(
    args: argparse.Namespace,
) -> tuple[list[Agent], list[ControlFailed]]:
    """Return the agents that are meant, and why those that may be do not answer.

    Raises:
        ControlFailed: If there is none.
    """
    known = _contacts(args)
    asked = reachable(known)
    agents = [
        Agent(c, {**told, "pid": told["pid"] or c.pid})  # it may not have said so yet
        for c, told in asked
        if isinstance(told, dict)
    ]
    silent = [told for _, told in asked if isinstance(told, ControlFailed)]
    meant = [
        agent
        for agent in agents
        if args.run_id in (None, agent.run_id) and args.endpoint in ("", agent.endpoint)
    ]
    if meant or (silent and not _is_named(args)):
        meant.sort(key=lambda a: (a.run_id, a.endpoint, a.contact.pid))
        return meant, silent
    if silent:
        raise silent[0]
    raise ControlFailed(_nobody(args, agents))


def _is_named(args: argparse.Namespace) -> bool:
    """Whether it is said which job is meant."""
    return args.run_id is not None or bool(args.endpoint)


def _contacts(args: argparse.Namespace) -> list[Contact]:
    if args.at:
        try:
            host, port = parse_place(args.at)
        except ValueError as error:
            raise UsageError(f"--at: {error}") from error
        return [contact_at(host, port, os.environ)]
    return [c for c in contacts(os.environ) if args.agent in (None, c.pid)]


def _nobody(args: argparse.Namespace, others: Sequence[Agent]) -> str:
    if args.at:
        where = f"at {args.at}"
    else:
        where = f"on this host (in {runtime_directory(os.environ)!r})"
    runs = {agent.run_id for agent in others}
    if args.endpoint and (args.run_id is None or args.run_id in runs):
        known = {agent.endpoint for agent in others if agent.endpoint}
        hint = suggestion(args.endpoint, known)
        rest = f"; endpoints: {quoted(known)}" if known else ""
        return (
            f"no job that meets at {args.endpoint!r} has an agent {where}{hint}{rest}"
        )
    if others and args.run_id is not None:
        hint = suggestion(args.run_id, runs)
        return (
            f"no agent of run {args.run_id!r} answers {where}{hint}; runs: "
            f"{quoted(runs)}"
        )
    whose = "" if args.agent is None else f" with process id {args.agent}"
    return f"no agent of this user{whose} answers {where}"


def _one(agents: Sequence[Agent], otherwise: str = "") -> Sequence[Agent]:
    if len(agents) > 1:
        raise UsageError(
            f"several agents match: {_named(agents)}; name one with --agent PID"
            f"{otherwise}"
        )
    return agents


def _of_one_job(agents: Sequence[Agent]) -> Sequence[Agent]:
    """Return agents of the same job; each can speak for it."""
    if len({agent.job for agent in agents}) > 1:
        raise UsageError(
            f"several jobs match: {_named(agents)}; name one by its id, with "
            f"--endpoint, or with --agent PID"
        )
    return agents


def _named(agents: Sequence[Agent]) -> str:
    """Name agents, with where they meet if their ids don't tell their jobs apart."""
    ids = [run_id for run_id, *_ in {agent.job for agent in agents}]
    return ", ".join(
        f"{agent.name} at {agent.endpoint!r}"
        if agent.endpoint and ids.count(agent.run_id) > 1
        else agent.name
        for agent in agents
    )


def _drain(
    agents: Sequence[Agent], told: dict[str, str], patience: float | None
) -> int:
    """Drain each; one that refuses keeps none of the others from it."""
    refused, leaving = [], []
    for agent in agents:
        try:
            agent.contact.ask("POST", "/drain", told)
        except ControlFailed as error:
            refused.append(error)
        else:
            _say(f"{agent.name} leaves its job")
            leaving.append(agent)
    complaint = _complain_of(refused)
    return _wait_for(leaving, patience) or complaint


def _wait_for(agents: Sequence[Agent], patience: float | None) -> int:
    """Wait for the end of agents, if somebody wants that; return the exit status."""
    if patience is None:
        return 0
    deadline = time.monotonic() + patience
    late = []
    for agent in agents:
        if has_ended(agent.contact, deadline):
            _say(f"{agent.name} has ended")
        else:
            late.append(
                ControlFailed(
                    f"{agent.name} has not ended within {patience:g} s; 'elaunch "
                    f"status' tells how it is"
                )
            )
    return TOO_LATE if _complain_of(late) else 0


def _ask_one(
    agents: Sequence[Agent], path: str, told: dict[str, str]
) -> dict[str, Any]:
    """Ask agents of a job until one does it: one may be joining, or cut off."""
    failed = None
    for agent in agents:
        try:
            return agent.contact.ask("POST", path, told)
        except ControlFailed as error:
            failed = failed or error
    raise failed or ControlFailed("no agent was asked")


def _show(
    args: argparse.Namespace, agents: Sequence[Agent], silent: Sequence[ControlFailed]
) -> int:
    if args.metrics:
        for agent in _one(agents):
            print(agent.contact.fetch("/metrics").decode(), end="")
        return _complain_of(silent)
    members, unknown = _members(agents) if args.members else ({}, [])
    if args.json:
        told = [
            {**agent.status, **_of_members(members.get(agent.contact))}
            for agent in agents
        ]
        print(json.dumps(told, indent=2))
    else:
        for number, agent in enumerate(agents):
            lines = status_lines(agent.status)
            if agent.contact in members:
                lines += member_lines(members[agent.contact])
            print(*[""] * bool(number), *map(printable, lines), sep="\n")
    return _complain_of([*silent, *unknown])


def _of_members(members: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {} if members is None else {"members": members}


def _members(
    agents: Sequence[Agent],
) -> tuple[dict[Contact, list[dict[str, Any]]], list[ControlFailed]]:
    """Return the nodes of each agent's job, and why others don't know theirs."""
    found, unknown = {}, []
    for agent in agents:
        try:
            found[agent.contact] = agent.contact.ask("GET", "/members")["members"]
        except ControlFailed as error:
            unknown.append(error)
    return found, unknown


def _say(text: str) -> None:
    print(f"elaunch: {printable(text)}")


def _complain_of(errors: Sequence[ControlFailed]) -> int:
    """Tell of errors beside which the command has done something."""
    for error in errors:
        print(f"elaunch: error: {printable(str(error))}", file=sys.stderr)
    return int(bool(errors))
