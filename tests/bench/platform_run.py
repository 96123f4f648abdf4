"""create_platform on a fresh sandbox, with the times of every child that it starts.

The children are seen from outside: stand-ins on PATH, which note when the real program started and ended.
"""
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
CHILDREN = ("terraform", "helm", "kubectl", "git")
STAND_IN = """#!/bin/bash
start=$EPOCHREALTIME
{real} "$@"
code=$?
printf '%s %s %s\\n' "$start" "$EPOCHREALTIME" "{name} $*" >>"$WSRUN_BENCH_CHILDREN"
exit $code
"""


@dataclass
class Child:
    start: float
    end: float
    what: str


@dataclass
class Run:
    wall: float
    children: list

    def longest_chain(self):
        """The largest sum of children of which each began after the one before had ended: no order of work could do
        with less."""
        best = {}
        ended = []  # (end, longest chain up to there), by end
        for child in sorted(self.children, key=lambda c: c.start):
            before = max((length for end, length in ended if end <= child.start), default=0)
            best[id(child)] = before + child.end - child.start
            ended.append((child.end, best[id(child)]))
        return max(best.values())


def stand_ins(folder):
    folder.mkdir()
    for name in CHILDREN:
        real = shutil.which(name)
        if real is None:
            raise SystemExit(f"bench: no {name} on PATH")
        (folder / name).write_text(STAND_IN.format(real=real, name=name), encoding="utf-8")
        (folder / name).chmod(0o755)


def create(wsrun, *options):
    """One run in a scratch copy of the project; the sandbox is up before the clock starts."""
    with tempfile.TemporaryDirectory(prefix="wsrun-bench.") as scratch:
        scratch = Path(scratch)
        stand_ins(scratch / "bin")
        subprocess.run([TOP / "tests" / "scratch-project.sh", scratch], check=True)
        environment = dict(os.environ, PATH=f"{scratch}/bin:{os.environ['PATH']}", GIT_CONFIG_GLOBAL="/dev/null",
                           GIT_CONFIG_NOSYSTEM="1", WSRUN_BENCH_CHILDREN=str(scratch / "children"))
        for name in ("WSRUN_STATE_DIR", "WSRUN_SOURCE", "KUBECONFIG"):
            environment.pop(name, None)
        quiet = {"cwd": scratch / "project", "env": environment, "stdin": subprocess.DEVNULL, "text": True,
                 "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        subprocess.run([wsrun, "sandbox", "up"], check=True, **quiet)
        try:
            (scratch / "children").write_text("", encoding="utf-8")
            start = time.perf_counter()
            done = subprocess.run([wsrun, "--sandbox", *options, "workflows/create_platform.lua", "dev-seb"], **quiet)
            wall = time.perf_counter() - start
            if done.returncode != 0:
                raise SystemExit(f"bench: create_platform ended with {done.returncode}\n{done.stdout}")
            lines = (scratch / "children").read_text(encoding="utf-8").splitlines()
        finally:
            subprocess.run([wsrun, "sandbox", "down"], check=False, **quiet)
    children = []
    for line in lines:
        begin, end, what = line.split(" ", 2)
        children.append(Child(float(begin), float(end), what))
    return Run(wall, children)
