"""The check ``clock``: how wrong this node's clock can be.

Two clocks are never just compared: what a comparison can't tell counts as wrong, too.

- Without a server it is the kernel's bound: its time service (chrony, ntpd, timesyncd)
  tells it by how much the clock may be wrong, and the kernel lets that grow until it is
  told again. A clock that nobody keeps is unsynchronised, and can be any time.
- With one, it is the offset that was measured, and whatever the way there and back, and
  the server's own distance from true time, leave open.
"""

from collections.abc import Callable

import attrs

from elaunch.api import BlockingCall, PreflightContext, PreflightResult
from elaunch.preflights.endpoint import SHARE, Target, targets
from elaunch.preflights.kernel_clock import KernelClock, kernel_clock
from elaunch.preflights.options import ClockOptions
from elaunch.preflights.time_server import PORT, NoTime, ask


@attrs.define(eq=False)
class Clock:
    """Looks at the clock of this host.

    Attributes:
        options: What is asked of it.
        ask_kernel: Tells what the kernel knows.
    """

    options: ClockOptions
    ask_kernel: Callable[[], KernelClock | None] = kernel_clock
    _look: BlockingCall[PreflightResult] = attrs.field(init=False)
    _server: Target | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._look = BlockingCall(self._looked)
        if self.options.server:
            (self._server,) = targets(self.options.server)

    async def check(self, _: PreflightContext) -> PreflightResult:
        """Look in a thread: a server may not answer."""
        return await self._look()

    def _looked(self) -> PreflightResult:
        if self._server:
            return self._compared(self._server)
        known = self.ask_kernel()
        if known is None:
            return PreflightResult(
                problem="the kernel does not tell how exact the clock is; name a "
                "server to compare it with (clock:server=HOST)"
            )
        if not known.synchronised:
            return PreflightResult(
                problem="the kernel has the clock as unsynchronised: no service keeps "
                "it; start one, or name one to compare it with (clock:server=HOST)",
                facts={"synchronised": False},
            )
        return self._judged(
            known.max_error,
            f"the clock may be wrong by {known.max_error:.3f} s, by the kernel's bound",
            synchronised=True,
        )

    def _compared(self, server: Target) -> PreflightResult:
        port = server.port or PORT
        try:
            found = ask(server.host, port, SHARE * self.options.timeout)
        except NoTime as error:
            return PreflightResult(
                problem=f"time server {str(server)!r} {error}",
                facts={"server": str(server)},
            )
        return self._judged(
            abs(found.offset) + found.error,
            f"the clock is {abs(found.offset):.3f} s "
            f"{'behind' if found.offset > 0 else 'ahead of'} {str(server)!r}, give or "
            f"take {found.error:.3f} s",
            server=str(server),
            offset=found.offset,
        )

    def _judged(self, error: float, what: str, **facts: str | float) -> PreflightResult:
        most = self.options.max_error
        problem = f"{what}, and {most:g} s are allowed" if error > most else ""
        return PreflightResult(problem=problem, facts={**facts, "error": error})
