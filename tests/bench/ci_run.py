"""ci.lua and the bash script ci.sh on one sandbox: the same steps without tests and compiler.

`go build` is a stand-in that copies a program compiled before, made different each time as a new version's is, so that
both sides push a new layer.
"""
import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
STAND_IN = """#!/bin/bash
[ "$1" = build ] || exec {real} "$@"
while [ "$1" != -o ]; do shift; done
cp {program} "$2" && printf %s "$EPOCHREALTIME" >>"$2"
"""


class Project:
    def __init__(self, wsrun, scratch):
        self.wsrun, self.dir = wsrun, scratch / "project"
        subprocess.run([TOP / "tests" / "scratch-project.sh", scratch], check=True)
        go, program = shutil.which("go"), scratch / "program"
        if go is None:
            raise SystemExit("bench: no go on PATH")
        subprocess.run([go, "build", "-o", program, "."], cwd=self.dir / "app" / "src", check=True,
                       env=dict(os.environ, CGO_ENABLED="0"))
        (scratch / "bin").mkdir()
        stand_in = scratch / "bin" / "go"
        stand_in.write_text(STAND_IN.format(real=go, program=program), encoding="utf-8")
        stand_in.chmod(0o755)
        self.program, self.count = program, 0
        self.env = dict(os.environ, PATH=f"{scratch}/bin:{os.environ['PATH']}", GIT_CONFIG_GLOBAL="/dev/null",
                        GIT_CONFIG_NOSYSTEM="1")
        for name in ("WSRUN_STATE_DIR", "WSRUN_SOURCE", "KUBECONFIG"):
            self.env.pop(name, None)

    def run(self, *command):
        """Seconds that wsrun took."""
        start = time.perf_counter()
        done = subprocess.run([self.wsrun, *command], cwd=self.dir, env=self.env, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            raise SystemExit(f"bench: wsrun {' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}")
        return seconds

    def version(self):
        self.count += 1
        return f"1.0.{self.count}"

    def ours(self):
        return self.run("--sandbox", "workflows/ci.lua", self.version(), "--no-tests", "--builder", "none")

    def script(self):
        binary = self.dir.parent / "app"
        shutil.copy(self.program, binary)
        with binary.open("ab") as file:
            file.write(str(time.time_ns()).encode())
        return self.run("sandbox", "shell", "--", TOP / "tests" / "bench" / "ci.sh", self.version(), binary)


@contextlib.contextmanager
def project(wsrun):
    with tempfile.TemporaryDirectory(prefix="wsrun-bench.") as scratch:
        made = Project(wsrun, Path(scratch).resolve())
        made.run("sandbox", "up")
        try:
            yield made
        finally:
            made.run("sandbox", "down")
