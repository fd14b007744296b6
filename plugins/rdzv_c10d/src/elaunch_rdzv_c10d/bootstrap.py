"""The workers' store: a new TCPStore on a new port for every generation.

Workers write the same keys in every generation, so a store that was kept would show
them the keys of the dead.
"""

from collections.abc import Collection, Mapping

import attrs

from elaunch.api import BootstrapParameters, SpawnError
from elaunch_rdzv_c10d.dial import reason_of
from elaunch_rdzv_c10d.options import MEMBERS, BootstrapOptions
from elaunch_rdzv_c10d.peers import MembersOnly
from elaunch_rdzv_c10d.thread_host import ThreadedServer


@attrs.define(eq=False, repr=False)
class C10dBootstrap:
    """Hosts the store of one generation's workers in this agent.

    Attributes:
        params: What every bootstrap is built with.
        options: Who may use it.
    """

    params: BootstrapParameters
    options: BootstrapOptions = attrs.field(factory=BootstrapOptions)
    _server: ThreadedServer | None = attrs.field(default=None, init=False)

    @property
    def is_open(self) -> bool:
        """Whether there is a store."""
        return self._server is not None

    async def open(self, generation: int, peers: Collection[str]) -> Mapping[str, str]:
        """Close the last generation's store and open an empty one on another port.

        Raises:
            SpawnError: If this node's address can't be listened at.
        """
        await self.close()
        address = self.params.address
        admits = None
        if self.options.peers == MEMBERS:
            admits = (await MembersOnly.of(generation, peers)).admits
        server = ThreadedServer(self.params.run_id, control=False, admits=admits)
        try:
            _, port = await server.start(address, 0, shared=True)
        except OSError as error:
            raise SpawnError(
                f"no store for the workers of generation {generation} can be opened at "
                f"{address!r}: {reason_of(error)}; if this node is known to others by "
                "an address that is not its own, give one that is with --local-addr"
            ) from error
        self._server = server
        return {"address": address, "port": str(port)}

    def environment(self, info: Mapping[str, str]) -> Mapping[str, str]:
        """Return what makes torch connect to the store that `open` told of."""
        return {
            "MASTER_ADDR": info["address"],
            "MASTER_PORT": info["port"],
            # Exactly this word: torch compares it with str(True).
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }

    async def close(self) -> None:
        """End the store, whoever still uses it. Twice is fine."""
        server, self._server = self._server, None
        if server:
            await server.stop()
