"""A word for what an agent does, from an event on."""

from collections.abc import Mapping

from elaunch.events import EventName


STATES: Mapping[str, str] = {
    EventName.AGENT_STARTED: "joining",
    EventName.RENDEZVOUS_JOINING: "joining",
    EventName.GROUP_STOPPED: "joining",
    EventName.GENERATION_JOINED: "starting",
    EventName.GROUP_STARTED: "running",
    EventName.GROUP_STOPPING: "stopping",
    EventName.GROUP_SUCCEEDED: "waiting",
    EventName.RENDEZVOUS_LEFT: "leaving",
    EventName.AGENT_FINISHED: "finished",
}
