"""Waits for the end of an agent that was told to go."""

import time

from elaunch.endpoint.client import Contact, NoAnswer, NobodyListens


PAUSE = 0.1
"""Seconds before an agent is asked again that said nothing: it may be ending."""


def has_ended(contact: Contact, deadline: float) -> bool:
    """Wait for the end of an agent; tell whether it came in time.

    One that is killed says nothing; a moment later nobody listens there.

    Args:
        contact: Where the agent listens.
        deadline: When to wait no more, on the monotonic clock.

    Raises:
        ControlFailed: If the agent refuses to tell.
    """
    while (left := deadline - time.monotonic()) > 0:
        try:
            if contact.ask("GET", "/end", timeout=left)["ended"]:
                return True
        except NobodyListens:
            return True
        except NoAnswer:
            time.sleep(min(PAUSE, max(deadline - time.monotonic(), 0.0)))
    return False
