"""Whose endpoint it is."""

import attrs


@attrs.frozen(kw_only=True)
class Identity:
    """Whose endpoint it is.

    Attributes:
        run_id: Id of the job.
        agent: Id of the agent.
        version: Version of elaunch.
        max_restarts: Restart budget of the job.
        min_nodes: Fewest nodes that it may have.
        max_nodes: Most nodes that it may have.
        backend: Name of its rendezvous backend.
        endpoint: Where its nodes meet, as it was told: jobs of one id may differ in it.
    """

    run_id: str
    agent: str
    version: str
    max_restarts: int
    min_nodes: int
    max_nodes: int
    backend: str
    endpoint: str
