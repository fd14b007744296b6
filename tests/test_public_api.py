"""The public names are a promise: a change here is a decision, not an accident."""

import importlib

import pytest


FACADE = """
ChildFailedError DefaultLogsSpecs DuplicateBackend ElaunchError HandedBack
InvalidProvider InvalidTransition LaunchConfig LogsSpecs Membership NodeDrained
NodeNotAdmitted PluginError PluginFailed Preempted ProcessFailure QuorumLost
RendezvousClosed RendezvousCorrupt RendezvousError RendezvousGracefulExit
RendezvousHandler RendezvousInfo RendezvousParameters RendezvousTimeout
RendezvousUnreachable RunResult SignalException SpawnError Std UnknownBackend UsageError
WorkerSpec WorkerState WorkersLeft elastic_launch get_rdzv_handler
is_torchelastic_launched launch_agent load_plugins record start_processes
"""

AUTHORS = """
ABSENT BindingSettings BlockingCall Bootstrap BootstrapParameters BootstrapProvider
BudgetOptions BudgetPolicy Change ChangeKind Command CommandEntry CommandParameters
CommandProvider Decision Destination Detected ElaunchError Ending Entry Event EventName
EventRecorder EventRecorderProvider FailureMatch FailureReport FailureRow FailureTable
Feed FileStore Finding FunctionEntry GroupLogs History JobSettings Keyspace KeyspaceFull
Lease Listing LogLayout LogLayoutParameters LogLayoutProvider MemberStatus Membership
MemoryStore MessageKind MetricData MetricHandler MetricHandlerParameters
MetricHandlerProvider Monitor MonitorParameters MonitorProvider NoOptions NodeFacts
NodeNotAdmitted NodeState Notice NoticeKind NumaBinding OnStop Outcome OutcomeState
OutputBlock OutputSettings Pace PastFailure PluginError PolicyParameters PollingStore
Preflight PreflightContext PreflightOptions PreflightParameters PreflightProvider
PreflightResult ProcessFailure Provider QuorumLost RankSet Record RecorderParameters
RendezvousClosed RendezvousCorrupt RendezvousError RendezvousGracefulExit
RendezvousHandler RendezvousOptions RendezvousParameters RendezvousProvider
RendezvousTimeout RendezvousUnreachable Request RestartPolicy RestartPolicyProvider
Route STDERR_TAIL_LINES ScalingHold Scheduler SchedulerParameters SchedulerProvider
ScriptEntry
Severity Source SpawnError Spawner SpawnerParameters SpawnerProvider StackSettings
StartMethod StartSettings Std StopSchedule StopStep Store StoreEvent StoreRendezvous
Subscription Suggestion ToldFinding Translation Treatment UnknownLease UsageError
Verdict Vitals WatchCompacted WatchedGroup WorkerEntry WorkerExit WorkerGroup WorkerLogs
WorkerMessage WorkerRanks WorkerRoutes WorkerSpec discard inherited_environment render
torchelastic_logger
"""


RENDEZVOUS = """
RendezvousClosedError RendezvousConnectionError RendezvousError
RendezvousGracefulExitError RendezvousHandler RendezvousHandlerCreator
RendezvousHandlerRegistry RendezvousInfo RendezvousParameters RendezvousStateError
RendezvousStoreInfo RendezvousTimeoutError rendezvous_handler_registry
"""

PROCESSES = """
DefaultLogsSpecs LogsDest LogsSpecs PContext ProcessFailure RunProcsResult
SignalException Std start_processes to_map
"""

EVENTS = "Event EventMetadataValue EventSource NodeState RdzvEvent"

METRICS = """
ConsoleMetricHandler MetricData MetricHandler MetricStream MetricsConfig
NullMetricHandler configure getStream get_elapsed_time_ms prof profile publish_metric
put_metric
"""

TIMERS = "RequestQueue TimerClient TimerRequest TimerServer configure expires"
LOCAL_TIMERS = "LocalTimerClient LocalTimerServer MultiprocessingRequestQueue"
FILE_TIMERS = "FileTimerClient FileTimerRequest FileTimerServer"

TORCHELASTICS = {
    "agent.server.health_check_server": "HealthCheckServer create_healthcheck_server",
    "control_plane": "TORCH_WORKER_SERVER_SOCKET worker_main",
    "metrics": METRICS,
    "metrics.api": METRICS,
    "timer": f"{TIMERS} {LOCAL_TIMERS} {FILE_TIMERS}",
    "timer.api": TIMERS,
    "timer.local_timer": LOCAL_TIMERS,
    "timer.file_based_local_timer": FILE_TIMERS,
    "utils.data": "CyclingIterator ElasticDistributedSampler",
    "utils.data.cycling_iterator": "CyclingIterator",
    "utils.data.elastic_distributed_sampler": "ElasticDistributedSampler",
    "utils.process_state": "is_uninterruptible_state read_proc_state",
    "agent.server": "LocalElasticAgent RunResult WorkerSpec WorkerState",
    "events": (
        f"{EVENTS} construct_and_record_rdzv_event get_logging_handler record "
        "record_rdzv_event"
    ),
    "events.api": EVENTS,
    "events.handlers": "get_logging_handler",
    "multiprocessing": PROCESSES,
    "multiprocessing.api": PROCESSES,
    "multiprocessing.errors": (
        "ChildFailedError ErrorHandler ProcessFailure get_error_handler record"
    ),
    "multiprocessing.errors.error_handler": "ErrorHandler",
    "multiprocessing.errors.handlers": "get_error_handler",
    "rendezvous": RENDEZVOUS,
    "rendezvous.api": RENDEZVOUS,
    "rendezvous.registry": "get_rendezvous_handler rendezvous_handler_registry",
    "rendezvous.utils": "parse_rendezvous_endpoint",
    "utils.logging": "get_logger",
    "utils.log_level": "get_log_level",
    "rendezvous.etcd_server": "EtcdServer find_free_port",
    "utils": "get_env_variable_or_raise get_socket_with_port macros",
    "utils.api": "get_env_variable_or_raise get_socket_with_port macros",
    "utils.store": "barrier get_all store_timeout synchronize",
    "utils.distributed": "create_c10d_store get_free_port get_socket_with_port",
}
"""What is promised of ``torch.distributed.elastic``, by module."""

TIMERS = """
FileTimerClient FileTimerRequest FileTimerServer LocalTimerClient LocalTimerServer
MultiprocessingRequestQueue RequestQueue TimerClient TimerRequest TimerServer configure
expires
"""

WORKERS = """
PREEMPTED Notice exclude_node expires heartbeat hold_scaling is_torchelastic_launched
no_restart notice on_notice progress record release_scaling section
"""

DOORS = """
Request Response WorkerServer _get_handler _get_handlers _register_handler get_handler
get_handler_names register_handler wait_counter worker_main
"""


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("elaunch", FACADE),
        ("elaunch.api", AUTHORS),
        ("elaunch.worker", WORKERS),
        ("elaunch.timer", TIMERS),
        ("elaunch.control_plane", DOORS),
        (
            "elaunch.launcher",
            "LaunchConfig elastic_launch get_rdzv_handler launch_agent",
        ),
        ("elaunch.launcher.api", "LaunchConfig elastic_launch launch_agent"),
        *(
            (f"elaunch.elastic.{module}", names)
            for module, names in TORCHELASTICS.items()
        ),
        ("elaunch_rdzv_c10d", "QueueEmpty Store StoreError StoreTimeout"),
        ("elaunch_rdzv_etcd.server", "EtcdFailed EtcdServer Tls"),
        ("elaunch_rdzv_etcd.torchelastic", "EtcdServer"),
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
    assert elaunch.EtcdServer.__module__ == "elaunch_rdzv_etcd.torchelastic"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = elaunch.nonsense
