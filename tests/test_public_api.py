"""The public names are a promise: a change here is a decision, not an accident."""

import importlib

import pytest


FACADE = """
ChildFailedError DuplicateBackend ElaunchError InvalidProvider InvalidTransition
LaunchConfig Membership NodeNotAdmitted PluginError PluginFailed Preempted
ProcessFailure QuorumLost RendezvousClosed
RendezvousCorrupt RendezvousError RendezvousGracefulExit
RendezvousHandler RendezvousParameters RendezvousTimeout RendezvousUnreachable
SignalException SpawnError UnknownBackend UsageError WorkersLeft elastic_launch
get_rdzv_handler
launch_agent load_plugins record
"""

AUTHORS = """
ABSENT BindingSettings Bootstrap BootstrapParameters BootstrapProvider BudgetPolicy
Change ChangeKind Command CommandEntry CommandParameters CommandProvider Decision
Destination ElaunchError Ending Entry Event EventName EventRecorder
EventRecorderProvider FailureReport FileStore Finding FunctionEntry GroupLogs
JobSettings Keyspace KeyspaceFull Lease Listing LogLayout LogLayoutParameters
LogLayoutProvider Membership MemoryStore Monitor MonitorParameters MonitorProvider
NoOptions NodeFacts NodeNotAdmitted NodeState Notice NoticeKind NumaBinding OnStop
Outcome OutcomeState OutputSettings PluginError PolicyParameters PollingStore
ProcessFailure Provider QuorumLost RankSet Record RecorderParameters RendezvousClosed
RendezvousCorrupt RendezvousError RendezvousGracefulExit RendezvousHandler
RendezvousOptions RendezvousParameters RendezvousProvider RendezvousTimeout
RendezvousUnreachable RestartPolicy RestartPolicyProvider Route STDERR_TAIL_LINES
ScriptEntry Severity Source SpawnError Spawner SpawnerParameters SpawnerProvider
StackSettings StartMethod StartSettings Std StopSchedule StopStep Store StoreEvent
StoreRendezvous Subscription Translation UnknownLease UsageError Verdict WatchCompacted
WorkerEntry WorkerExit WorkerGroup WorkerLogs WorkerRanks WorkerRoutes WorkerSpec
discard inherited_environment render torchelastic_logger
"""


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("elaunch", FACADE),
        ("elaunch.api", AUTHORS),
        ("elaunch.worker", "PREEMPTED Notice notice record"),
        ("elaunch_rdzv_c10d", "QueueEmpty Store StoreError StoreTimeout"),
        ("elaunch_rdzv_etcd.server", "EtcdFailed EtcdServer Tls"),
        (
            "elaunch_rdzv_etcd.testing",
            "EtcdCluster EtcdFailed EtcdMember EtcdServer QUICK Tls",
        ),
    ],
)
def test_public_names(module: str, names: str) -> None:
    loaded = importlib.import_module(module)

    assert sorted(loaded.__all__) == sorted(names.split())
    for name in loaded.__all__:
        assert getattr(loaded, name) is not None


def test_the_facade_has_a_version_and_refuses_other_names() -> None:
    elaunch = importlib.import_module("elaunch")

    assert elaunch.__version__.count(".") == 2
    assert set(elaunch.__all__) < set(dir(elaunch))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = elaunch.nonsense
