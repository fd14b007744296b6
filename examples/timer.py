"""Steps that must end in time: `elaunch run --monitor timer examples/timer.py`."""

import os
import time

from elaunch.timer import FileTimerClient, configure, expires


configure(FileTimerClient(os.environ["TORCHELASTIC_TIMER_FILE"]))
for step in range(3):
    with expires(after=5):
        time.sleep(0.01)  # a step of the training
    print(f"step {step} was in time")
