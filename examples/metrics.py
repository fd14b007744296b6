"""Metrics of a program's own, printed."""

from elaunch.metrics import ConsoleMetricHandler, configure, prof, put_metric


configure(ConsoleMetricHandler(), group="my_app")


@prof(group="my_app")
def train_step() -> None:
    """Take a step."""
    put_metric("samples", 512, "my_app")


train_step()
