"""Stands for ``srun`` on two machines: starts its arguments twice, passes signals on, waits.

Ends with 0 when both do, else with the code of the first that did not.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from types import FrameType


def main() -> int:
    agents = [subprocess.Popen(sys.argv[1:]) for _ in range(2)]

    def passed_on(number: int, frame: FrameType | None) -> None:
        for agent in agents:
            agent.send_signal(number)

    signal.signal(signal.SIGTERM, passed_on)
    codes = [None, None]
    while None in codes:
        codes = [agent.poll() for agent in agents]
        if any(codes):  # as --kill-on-bad-exit
            time.sleep(1)
            for agent in agents:
                agent.terminate()
            codes = [agent.wait() for agent in agents]
        time.sleep(0.1)
    return next((abs(code) for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
