"""The dead man's switch, in processes of its own: only there may it do what it is for."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

LIMIT = 2.0
"""Seconds: a thread that is ready to run may have to wait for some of them on a busy machine."""
SCRIPT = """
import asyncio, faulthandler, os, re, signal, sys, time
from fractal_operator.deadman import DeadMan

async def main(deadman):
    deadman.follow(asyncio.get_running_loop())
    try:
        await work()
    finally:
        deadman.leave()

{work}

with DeadMan(limit={limit}, hard={hard}) as deadman:
    asyncio.run(main(deadman))
{after}
print("ended well")
"""


def start(work: str, *, hard: float = 60.0, after: str = "") -> "subprocess.Popen[bytes]":
    code = SCRIPT.format(work=work, limit=LIMIT, hard=hard, after=after)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def end(process: "subprocess.Popen[bytes]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out.decode(), err.decode()


def test_a_loop_that_comes_round_is_left_alone() -> None:
    """For longer than the limit, and with all tasks cancelled, as kopf does in the end."""
    work = f"""
async def work():
    for _ in range(3):
        await asyncio.sleep({LIMIT})
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
"""
    assert end(start(work)) == (0, "ended well\n", "")


def test_a_blocked_loop_ends_the_process_with_its_stack_and_then_the_cause() -> None:
    code, out, err = end(start("async def work():\n    time.sleep(30)  # the culprit"))
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("the event loop has not come round for ")
    assert 'File "<string>"' in err
    assert "in work" in err


def test_code_that_lets_no_thread_run_is_ended_later() -> None:
    work = 'async def work():\n    re.match("(a+)+$", "a" * 64 + "b")'
    code, out, err = end(start(work, hard=5.0))
    assert (code, out) == (1, "")
    assert "in work" in err


def test_a_log_that_nobody_reads_blocks_the_loop_but_not_the_end() -> None:
    work = """
async def work():
    while True:
        os.write(2, b"x" * 65536)
"""
    process = start(work)
    assert process.wait(60) == 1  # without its stderr being read
    process.communicate()


def test_a_process_that_was_stopped_is_not_blamed() -> None:
    work = """
async def work():
    print("begun", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
"""
    code = SCRIPT.format(work=work, limit=LIMIT, hard=60.0, after="")
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    stopped(process.pid)
    out, err = process.communicate(b"\n", timeout=60)
    assert (process.returncode, out, err) == (0, b"ended well\n", b"")


def stopped(pid: int) -> None:
    """SIGSTOP a process for three limits of time, and SIGCONT it."""
    import os
    import signal

    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 3 * LIMIT
    while time.monotonic() < deadline or "T" not in state(pid):
        time.sleep(0.05)
    os.kill(pid, signal.SIGCONT)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("how", ["a task that cannot be cancelled", "a thread that is joined"])
def test_an_end_that_hangs_is_ended(how: str) -> None:
    stubborn = """
async def work():
    asyncio.create_task(stubborn())
    await asyncio.sleep(0)

async def stubborn():
    while True:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            pass
"""
    joined = """
async def work():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 30)
"""
    code, out, err = end(start(stubborn if "task" in how else joined))
    assert (code, out) == (1, "")
    assert "has not come round" in err.splitlines()[-1]
