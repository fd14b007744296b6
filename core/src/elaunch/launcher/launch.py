"""One launch: the agent with its ports, and what is told of its outcome."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import ClassVar, cast

import attrs
import msgspec

from elaunch.addresses import advertised_address, given_address
from elaunch.agent.agent import Agent
from elaunch.agent.messages import Result
from elaunch.agent.notices import Notices
from elaunch.agent.recording import Recording, new_agent_id
from elaunch.agent.signals import HandledSignals
from elaunch.agent.twins import Twins
from elaunch.config import LaunchConfig
from elaunch.errors import ChildFailedError, ElaunchError, HandedBack, NodeDrained
from elaunch.events import Event, EventName, EventRecorder
from elaunch.failure_file import tell_outer_launcher, temporary_file, write_failure
from elaunch.interfaces import interface_addresses
from elaunch.launcher.detection import slot_of_node
from elaunch.launcher.endpoint import Endpoint, listening
from elaunch.launcher.metrics import measuring
from elaunch.launcher.ports import Ports
from elaunch.launcher.switches import HEALTH_CHECK_PORT
from elaunch.rendezvous import NodeFacts
from elaunch.signals import stop_signal
from elaunch.spawner import Spawner
from elaunch.workers import WorkerEntry


logger = logging.getLogger(__name__)


@attrs.define(eq=False, repr=False)
class _Stacks:
    """A recorder that keeps the files of the last stacks that were written down."""

    files: Sequence[str] = ()
    _keys: ClassVar[Mapping[str, str]] = {
        EventName.GROUP_STOPPING: "files",
        EventName.MONITOR_FINDING: "stacks",
    }

    def record(self, event: Event) -> None:
        key = self._keys.get(event.name)
        if key and key in event.metadata:
            self.files = cast("Sequence[str]", event.metadata[key])

    def close(self) -> None:
        """Nothing is held."""


@attrs.frozen(eq=False, repr=False)
class Launch:
    """One launch: resolves every name before anything starts.

    Attributes:
        config: The settled configuration.
        entry: What the workers run.
        ports: Builds what the configuration names.
        spawner: Starts the workers.
        recorders: Event recorders beside those that the configuration names.
    """

    config: LaunchConfig
    entry: WorkerEntry
    ports: Ports
    spawner: Spawner
    recorders: Sequence[EventRecorder]

    async def run(self, signals: HandledSignals) -> Result:
        """Build the ports, run the agent, tell the outcome, close the recorders.

        Args:
            signals: How the agent gets its signals.
        """
        agent_id, messages = new_agent_id(), self.ports.messages
        listening_ = listening(self.config, os.environ, agent_id, messages)
        try:
            async with self._health_check() as watchers, listening_ as endpoints:
                return await self._run(signals, watchers, agent_id, endpoints)
        finally:
            await self.spawner.close()  # it has begun to get ready

    def _health_check(self) -> AbstractAsyncContextManager[Sequence[EventRecorder]]:
        if not self.config.health_check and not os.environ.get(HEALTH_CHECK_PORT):
            return contextlib.nullcontext(())
        from elaunch.launcher.health import health_check  # few agents are asked

        return health_check(self.config, os.environ)

    async def _run(
        self,
        signals: HandledSignals,
        watchers: Sequence[EventRecorder],
        agent_id: str,
        endpoints: Sequence[Endpoint],
    ) -> Result:
        config, stacks = self.config, _Stacks()
        recorders = (
            *(stacks, *watchers, *(endpoint.book for endpoint in endpoints)),
            *(*self.recorders, *self.ports.recorders(agent_id)),
            *measuring(config, self.ports.plugins),
        )
        recording = Recording(config.run_id, recorders, agent_id, self._twins())
        try:
            agent = self._agent(recording, await self._node(recording), signals)
            for endpoint in endpoints:
                endpoint.attach(agent.controls)
            result = await agent.run()
            if isinstance(result.error, ChildFailedError):
                error = await asyncio.to_thread(self._keep, result.error, stacks.files)
                result = msgspec.structs.replace(result, error=error)
            await self._tell(recording, result.error, early=result.early)
        except BaseException as error:
            await self._tell(recording, error)
            raise
        finally:
            recording.close()
        return result

    def _twins(self) -> Twins:
        return Twins(
            run_id=self.config.run_id,
            # The full name would have to be asked for, which can take long.
            host=socket.gethostname(),
            role=self.config.role,
            backend=self.config.rdzv_backend,
            entry_point=Path(self.entry.name).name,
        )

    async def _node(self, recording: Recording) -> NodeFacts:
        config = self.config
        slot = slot_of_node(self.ports.plugins, config, os.environ)
        if slot:
            logger.info("%s gives this node the group rank %d", slot.source, slot.rank)
        if config.local_addr:
            found = given_address(config.local_addr)
        else:
            found = await advertised_address(config.rdzv_endpoint, config.max_nodes)
        recording(EventName.NODE_ADDRESS, address=found.address, rule=found.rule)
        return NodeFacts(
            host=socket.gethostname(),
            address=found.address,
            # A node that is alone meets nobody, and starts at once.
            addresses=interface_addresses() if config.max_nodes > 1 else (),
            local_world_size=config.nproc_per_node,
            role=config.role,
            slot=slot.rank if slot else None,
        )

    def _agent(
        self, recording: Recording, node: NodeFacts, signals: HandledSignals
    ) -> Agent:
        config, ports = self.config, self.ports
        handler = ports.handler(node, recording)
        return Agent(
            bootstrap=ports.bootstrap(node),
            channel=ports.channel(),
            monitors=ports.monitors(recording, handler.job_pace),
            preflights=ports.preflights(recording),
            spawner=self.spawner,
            handler=handler,
            entry=self.entry,
            node=node,
            max_restarts=config.max_restarts,
            notices=Notices(
                host=node.host,
                stop_signal=stop_signal(config.stop_signal),
                shutdown_timeout=config.shutdown_timeout,
                dump_stacks=config.dump_stacks,
            ),
            signals=config.agent_signals,
            handled_signals=signals,
            exit_barrier_timeout=config.exit_barrier_timeout,
            line_prefix=config.log_line_prefix_template,
            record=recording,
            environment=config.environment_settings,
            messages=ports.messages,
            paces=ports.paces,
        )

    def _keep(self, error: ChildFailedError, stacks: Sequence[str]) -> ChildFailedError:
        """Write the report of a failed job, and return the error that tells of it."""
        error = attrs.evolve(error, stacks=tuple(stacks))
        wanted = str(Path(self.config.failure_file).absolute())
        path = write_failure(error, self.config.run_id, wanted, temporary_file())
        return attrs.evolve(error, report=path)

    async def _tell(
        self,
        recording: Recording,
        error: BaseException | None,
        *,
        early: bool = False,
    ) -> None:
        if error and not isinstance(error, NodeDrained):
            await asyncio.to_thread(tell_outer_launcher, error, os.environ)
        if isinstance(error, ChildFailedError):
            rank, first = error.get_first_failure()
            recording(
                EventName.JOB_FAILED,
                rank=rank,
                host=first.host,
                exitcode=first.exitcode,
                ending=first.ending.value,
                message=first.message,
                location=first.location,
                report=error.report,
                handed_back=isinstance(error, HandedBack),
            )
        elif error is None and not early:
            recording(EventName.JOB_SUCCEEDED)
        status = error.status if isinstance(error, ElaunchError) else int(bool(error))
        recording(
            EventName.AGENT_FINISHED,
            status=status,
            error=str(error) if error and status else "",
        )
