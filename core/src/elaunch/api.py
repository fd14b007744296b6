"""Everything a plugin author needs; nothing else of the core is for plugins.

A plugin imports this module and `elaunch.hookspecs`; its tests also `elaunch.testing`.
"""

from typing import TYPE_CHECKING

from elaunch.binding import BindingSettings, NumaBinding
from elaunch.bootstrap import Bootstrap, BootstrapParameters, BootstrapProvider
from elaunch.command import Command, CommandParameters, CommandProvider
from elaunch.environ import inherited_environment
from elaunch.errors import (
    ElaunchError,
    NodeNotAdmitted,
    PluginError,
    QuorumLost,
    RendezvousClosed,
    RendezvousCorrupt,
    RendezvousError,
    RendezvousGracefulExit,
    RendezvousTimeout,
    RendezvousUnreachable,
    SpawnError,
    UsageError,
)
from elaunch.events import (
    Event,
    EventName,
    EventRecorder,
    EventRecorderProvider,
    Record,
    RecorderParameters,
    Source,
    discard,
)
from elaunch.failures import STDERR_TAIL_LINES, Ending, ProcessFailure, Request
from elaunch.feed import Feed
from elaunch.keyspace import Keyspace, KeyspaceFull, Subscription, UnknownLease
from elaunch.log_layout import (
    Destination,
    GroupLogs,
    LogLayout,
    LogLayoutParameters,
    LogLayoutProvider,
    WorkerLogs,
)
from elaunch.membership.options import RendezvousOptions
from elaunch.membership.rendezvous import StoreRendezvous
from elaunch.memory_store import MemoryStore
from elaunch.metric_handler import MetricHandlerParameters, MetricHandlerProvider
from elaunch.metrics import MetricData, MetricHandler
from elaunch.monitor import (
    Finding,
    Monitor,
    MonitorParameters,
    MonitorProvider,
    Severity,
    WatchedGroup,
)
from elaunch.notice import Notice, NoticeKind
from elaunch.output import OutputSettings, RankSet, Route, Std, WorkerRoutes
from elaunch.policy import (
    Decision,
    FailureReport,
    History,
    PastFailure,
    PolicyParameters,
    RestartPolicy,
    RestartPolicyProvider,
    Verdict,
)
from elaunch.preflight import (
    Preflight,
    PreflightContext,
    PreflightOptions,
    PreflightParameters,
    PreflightProvider,
    PreflightResult,
)
from elaunch.provider import NoOptions, Provider
from elaunch.rendezvous import (
    Change,
    ChangeKind,
    JobSettings,
    Membership,
    NodeFacts,
    NodeState,
    Outcome,
    OutcomeState,
    RendezvousHandler,
    RendezvousParameters,
    RendezvousProvider,
)
from elaunch.restart_budget import BudgetOptions, BudgetPolicy
from elaunch.scheduler import (
    Detected,
    Scheduler,
    SchedulerParameters,
    SchedulerProvider,
    Suggestion,
)
from elaunch.spawner import (
    OnStop,
    Spawner,
    SpawnerParameters,
    SpawnerProvider,
    StackSettings,
    StartMethod,
    StartSettings,
    StopSchedule,
    StopStep,
    WorkerGroup,
)
from elaunch.store import (
    ABSENT,
    Entry,
    Lease,
    Listing,
    Store,
    StoreEvent,
    WatchCompacted,
)
from elaunch.templates import render
from elaunch.threads import BlockingCall
from elaunch.vitals import MemberStatus, Pace, ScalingHold, ToldFinding, Vitals
from elaunch.worker_message import MessageKind, OutputBlock, WorkerMessage
from elaunch.workers import (
    CommandEntry,
    FunctionEntry,
    ScriptEntry,
    WorkerEntry,
    WorkerExit,
    WorkerRanks,
    WorkerSpec,
)


if TYPE_CHECKING:
    from elaunch.failure_table import (
        FailureMatch,
        FailureRow,
        FailureTable,
        Treatment,
    )
    from elaunch.file_store import FileStore
    from elaunch.polling_store import PollingStore
    from elaunch.torchelastic_events import get_logger as torchelastic_logger
    from elaunch.torchelastic_translation import Translation


__all__ = [
    "ABSENT",
    "STDERR_TAIL_LINES",
    "BindingSettings",
    "BlockingCall",
    "Bootstrap",
    "BootstrapParameters",
    "BootstrapProvider",
    "BudgetOptions",
    "BudgetPolicy",
    "Change",
    "ChangeKind",
    "Command",
    "CommandEntry",
    "CommandParameters",
    "CommandProvider",
    "Decision",
    "Destination",
    "Detected",
    "ElaunchError",
    "Ending",
    "Entry",
    "Event",
    "EventName",
    "EventRecorder",
    "EventRecorderProvider",
    "FailureMatch",
    "FailureReport",
    "FailureRow",
    "FailureTable",
    "Feed",
    "FileStore",
    "Finding",
    "FunctionEntry",
    "GroupLogs",
    "History",
    "JobSettings",
    "Keyspace",
    "KeyspaceFull",
    "Lease",
    "Listing",
    "LogLayout",
    "LogLayoutParameters",
    "LogLayoutProvider",
    "MemberStatus",
    "Membership",
    "MemoryStore",
    "MessageKind",
    "MetricData",
    "MetricHandler",
    "MetricHandlerParameters",
    "MetricHandlerProvider",
    "Monitor",
    "MonitorParameters",
    "MonitorProvider",
    "NoOptions",
    "NodeFacts",
    "NodeNotAdmitted",
    "NodeState",
    "Notice",
    "NoticeKind",
    "NumaBinding",
    "OnStop",
    "Outcome",
    "OutcomeState",
    "OutputBlock",
    "OutputSettings",
    "Pace",
    "PastFailure",
    "PluginError",
    "PolicyParameters",
    "PollingStore",
    "Preflight",
    "PreflightContext",
    "PreflightOptions",
    "PreflightParameters",
    "PreflightProvider",
    "PreflightResult",
    "ProcessFailure",
    "Provider",
    "QuorumLost",
    "RankSet",
    "Record",
    "RecorderParameters",
    "RendezvousClosed",
    "RendezvousCorrupt",
    "RendezvousError",
    "RendezvousGracefulExit",
    "RendezvousHandler",
    "RendezvousOptions",
    "RendezvousParameters",
    "RendezvousProvider",
    "RendezvousTimeout",
    "RendezvousUnreachable",
    "Request",
    "RestartPolicy",
    "RestartPolicyProvider",
    "Route",
    "ScalingHold",
    "Scheduler",
    "SchedulerParameters",
    "SchedulerProvider",
    "ScriptEntry",
    "Severity",
    "Source",
    "SpawnError",
    "Spawner",
    "SpawnerParameters",
    "SpawnerProvider",
    "StackSettings",
    "StartMethod",
    "StartSettings",
    "Std",
    "StopSchedule",
    "StopStep",
    "Store",
    "StoreEvent",
    "StoreRendezvous",
    "Subscription",
    "Suggestion",
    "ToldFinding",
    "Translation",
    "Treatment",
    "UnknownLease",
    "UsageError",
    "Verdict",
    "Vitals",
    "WatchCompacted",
    "WatchedGroup",
    "WorkerEntry",
    "WorkerExit",
    "WorkerGroup",
    "WorkerLogs",
    "WorkerMessage",
    "WorkerRanks",
    "WorkerRoutes",
    "WorkerSpec",
    "discard",
    "inherited_environment",
    "render",
    "torchelastic_logger",
]


def __getattr__(name: str) -> object:
    # Every command imports this module, and few need these: they are imported late.
    if name in ("FailureMatch", "FailureRow", "FailureTable", "Treatment"):
        from elaunch import failure_table

        return getattr(failure_table, name)
    if name == "FileStore":
        from elaunch.file_store import FileStore

        return FileStore
    if name == "PollingStore":
        from elaunch.polling_store import PollingStore

        return PollingStore
    if name == "Translation":
        from elaunch.torchelastic_translation import Translation

        return Translation
    if name == "torchelastic_logger":
        from elaunch.torchelastic_events import get_logger

        return get_logger
    raise AttributeError(f"module 'elaunch.api' has no attribute {name!r}")
