"""Which processes are known to have ended."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sweeps.run_dir.process_identity import is_gone, is_running, this_process


def test_this_process_runs() -> None:
    assert is_running(this_process())
    assert not is_gone(this_process())


@pytest.mark.parametrize(
    "change", [{"machine": "another"}, {"pid_namespace": "pid:[1]"}, {"started": ""}, {"pid": "7"}]
)
def test_of_a_process_elsewhere_nothing_is_known(change: dict[str, str]) -> None:
    assert not is_running({**this_process(), **change})
    if "pid" not in change:
        assert not is_gone({**this_process(), **change})


def test_a_process_number_that_another_process_got_is_not_the_process() -> None:
    assert is_gone({**this_process(), "started": "1"})


def test_a_process_that_nobody_has_waited_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone({**this_process(), "pid": child.pid})
