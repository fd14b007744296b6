"""A small network of hosts, each in namespaces of its own.

Nothing of it has a name on this machine: the namespaces end with their processes, and
these end with the pipes that this process holds, whatever ends it.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil


_UNSHARE = (
    *("unshare", "--user", "--map-root-user", "--net", "--mount"),
    *("--pid", "--fork", "--kill-child", "--mount-proc"),
)
_ENTER = ("nsenter", "--user", "--preserve-credentials", "--net", "--mount", "--pid")


class NoNamespacesError(Exception):
    """This machine gives us no network of our own; the message says why."""


class Shell:
    """A shell that runs what it is told, in the namespaces where it was started."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [*command, "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Its process id on this machine: what was started is only its parent."""
        (child,) = psutil.Process(self._process.pid).children()
        return child.pid

    def run(self, command: str) -> str:
        """Run a command and return what it says.

        Raises:
            NoNamespacesError: If it fails.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("the shell has no pipes")
        said = ""
        try:
            self._process.stdin.write(f'( {command} ) </dev/null\necho "= $?"\n')
            self._process.stdin.flush()
        except BrokenPipeError:
            said = self._process.stdout.read()
        for line in self._process.stdout:
            if line == "= 0\n":
                return said.strip()
            if line.startswith("= "):
                break
            said += line
        raise NoNamespacesError(f"{command.strip()!r} fails: {said.strip()}")

    def close(self) -> None:
        """End it, and with the first one of a network everything there."""
        self._process.communicate()


class Host:
    """A host with a name, interfaces and a hosts file of its own."""

    def __init__(self, name: str, switch: Shell, directory: Path) -> None:
        target = ("--target", str(switch.pid))
        unshare = ("unshare", "--net", "--mount", "--uts")
        self.name = name
        self._switch = switch
        self._hosts = directory / f"hosts-{name}"
        self._hosts.touch()
        self.shell = Shell([*_ENTER, *target, *unshare])
        # In /proc it can be written by root alone, and `hostname` may not be there.
        code = f'import socket; socket.sethostname("{name}")'
        self.shell.run(f"{sys.executable} -c '{code}'")
        self.shell.run(f"mount --bind '{self._hosts}' /etc/hosts")
        self.shell.run("ip link set lo up")

    def plug(self, interface: str, bridge: str, *addresses: str) -> None:
        """Connect an interface to a bridge and give it addresses."""
        port = f"{self.name}-{interface}"
        number = self.shell.run("echo $$")
        self._switch.run(
            f"ip link add name {port} type veth peer name {interface} netns {number} &&"
            f" ip link set {port} master {bridge} up"
        )
        for address in addresses:
            quick = "nodad" if ":" in address else ""
            self.shell.run(f"ip address add {address} dev {interface} {quick}")
        self.shell.run(f"ip link set {interface} up")

    def unplug(self, interface: str) -> None:
        """Cut an interface off from its bridge; neither side is told."""
        self._switch.run(f"ip link set {self.name}-{interface} nomaster")

    def replug(self, interface: str, bridge: str) -> None:
        """Connect it again."""
        self._switch.run(f"ip link set {self.name}-{interface} master {bridge}")

    def knows(self, *lines: str) -> None:
        """Write its hosts file."""
        self._hosts.write_text("\n".join(("127.0.0.1 localhost", *lines, "")))

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command that shall run there."""
        return (*_ENTER, "--uts", "--target", str(self.shell.pid))


class Lan:
    """Hosts on common bridges.

    Raises:
        NoNamespacesError: If there can be none here.
    """

    def __init__(self, directory: Path, bridges: Sequence[str]) -> None:
        self._directory = directory
        self._hosts: list[Host] = []
        if sys.platform != "linux":
            raise NoNamespacesError(f"{sys.platform} has no network namespaces")
        try:
            self._switch = Shell(_UNSHARE)
        except FileNotFoundError as error:
            raise NoNamespacesError(f"there is no {error.filename!r}") from error
        try:
            for bridge in bridges:
                self._switch.run(
                    f"ip link add name {bridge} type bridge && ip link set {bridge} up"
                )
            # Whatever is forbidden here shows now: later it would be a fault.
            self.host("probe").plug("eth0", bridges[0], "10.7.255.1/24")
        except NoNamespacesError:
            self.close()
            raise

    def host(self, name: str) -> Host:
        """Add a host."""
        self._hosts.append(Host(name, self._switch, self._directory))
        return self._hosts[-1]

    def cut(self, bridge: str) -> None:
        """Let a bridge carry nothing; no interface is told."""
        self._switch.run(f"ip link set {bridge} down")

    def mend(self, bridge: str) -> None:
        """Let it carry again."""
        self._switch.run(f"ip link set {bridge} up")

    def close(self) -> None:
        """End everything."""
        for host in self._hosts:
            host.shell.close()
        self._switch.close()
