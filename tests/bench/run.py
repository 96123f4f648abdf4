"""Measures wsrun against its peers, side by side in one run:  run.py BUILD_FOLDER [--check] [NAME...]

Prints a table and keeps it in docs/benchmarks.md between its markers. With names, only those benchmarks run and nothing
is kept; --check fails when a goal is missed. Python, because its imports are one of the peers and so it is there.

Each comparison runs its two sides in turns, several times over, and reports the median of the ratios: what else the
machine does meanwhile meets both.
"""
import datetime
import os
import pathlib
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import cd_run
import ci_run
import image_push
import platform_run
import workload

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
PAGE = TOP / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
PYTHON_IMPORTS = "import yaml, google.cloud.storage, kubernetes"


@dataclass
class Row:
    what: str
    ours: str
    peer: str
    ratio: str
    goal: str
    met: bool


def output(*command):
    """What a program printed, as numbers."""
    command = [str(word) for word in command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          cwd=TOP)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command)}: ended with {done.returncode}\n{done.stderr}")
    return [float(word) for word in done.stdout.split()]


def in_turns(rounds, ours, peer):
    """[(numbers of ours, numbers of peer)] of `rounds` rounds, the one that begins changing each time."""
    pairs = []
    for i in range(rounds):
        if i % 2:
            b = output(*peer)
            a = output(*ours)
        else:
            a = output(*ours)
            b = output(*peer)
        pairs.append((a, b))
    return pairs


def column(pairs, n):
    """Medians of the nth number of both sides, and the median of their ratios ours/peer."""
    ours = [a[n] for a, _ in pairs]
    peer = [b[n] for _, b in pairs]
    ratio = statistics.median(a / b for a, b in zip(ours, peer))
    return statistics.median(ours), statistics.median(peer), ratio


def seconds(s):
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if s * factor >= 1:
            break
    return f"{s * factor:.3g} {unit}"


def mebibytes(kib):
    return f"{kib / 1024:.1f} MiB"


def compile_peer(folder, name, *libraries):
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", *libraries], text=True) if libraries else ""
    source = HERE / "peers" / f"{name}.c"
    command = ["cc", "-std=c17", "-D_GNU_SOURCE", "-O2", "-o", folder / name, source, *flags.split()]
    subprocess.run(command, check=True)
    return folder / name


class Bench:
    """Each method of `all` runs one benchmark and yields its rows."""

    def __init__(self, build):
        self.wsrun = build / "wsrun"
        folder = build / "bench"
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.measure = compile_peer(folder, "measure")
        self.spawn_peer = compile_peer(folder, "spawn")
        self.yaml_peer = compile_peer(folder, "yaml_document", "yaml-0.1")
        self.json_peer = compile_peer(folder, "json_jansson", "jansson")
        self.yaml_file, self.json_file = workload.write(folder)

    def all(self):
        return {"startup": self.startup, "yaml": self.yaml, "json": self.json, "redact": self.redact,
                "spawn": self.spawn, "steps": self.steps, "many": self.many, "platform": self.platform,
                "push": self.push, "ci": self.ci, "cd": self.cd}

    def lua(self, script, *arguments):
        return [self.wsrun, HERE / script, *arguments]

    def startup(self):
        ours = [self.measure, self.wsrun, "-e", ""]
        pairs = in_turns(60, ours, [self.measure, "lua5.4", "-e", ""])
        a, b, ratio = column(pairs, 0)
        yield Row("start-up, `-e ''`", seconds(a), f"lua5.4: {seconds(b)}", f"{ratio:.2f}x", "<= 2.2x", ratio <= 2.2)
        a, b, ratio = column(pairs, 1)
        peer = f"lua5.4: {mebibytes(b)}"
        yield Row("peak memory, `-e ''`", mebibytes(a), peer, f"{ratio:.2f}x", "<= 6 MiB", a <= 6 * 1024)

        pairs = in_turns(9, ours, [self.measure, sys.executable, "-c", PYTHON_IMPORTS])
        a, b, ratio = column(pairs, 0)
        peer = f"Python, `{PYTHON_IMPORTS}`: {seconds(b)}"
        yield Row("start-up, `-e ''`", seconds(a), peer, f"1/{1 / ratio:.0f}", "<= 1/50", ratio <= 1 / 50)
        a, b, ratio = column(pairs, 1)
        yield Row("peak memory, `-e ''`", mebibytes(a), f"that Python: {mebibytes(b)}", f"1/{1 / ratio:.0f}", "", True)

    def speed(self, what, pairs, n, peer, goal):
        a, b, ratio = column(pairs, n)
        fast = 1 / ratio
        return Row(what, seconds(a), f"{peer}: {seconds(b)}", f"{fast:.2f}x as fast", f">= {goal}x", fast >= goal)

    def yaml(self):
        what = f"YAML of {self.yaml_file.stat().st_size / 2**20:.1f} MiB to values"
        ours = self.lua("yaml.lua", self.yaml_file, 9)
        pairs = in_turns(7, ours, [self.yaml_peer, self.yaml_file, 9])
        yield self.speed(what, pairs, 0, "libyaml's documents in C", 0.5)
        pairs = in_turns(3, ours, [sys.executable, HERE / "yaml_csafeloader.py", self.yaml_file, 3])
        yield self.speed(what, pairs, 0, "PyYAML CSafeLoader", 10)

    def json(self):
        what = f"JSON of {self.json_file.stat().st_size / 2**20:.1f} MiB"
        pairs = in_turns(7, self.lua("json.lua", self.json_file, 15), [self.json_peer, self.json_file, 15])
        yield self.speed(f"{what} to values", pairs, 0, "jansson in C", 0.6)
        yield self.speed(f"{what} from values", pairs, 1, "jansson in C", 0.8)

    def redact(self):
        size = self.json_file.stat().st_size * 32
        pick = random.Random(1)
        secrets, copies = self.folder / "secrets.txt", self.folder / "copies.json"
        names = [f"{pick.getrandbits(192):048x}\n" for _ in range(1000)]
        secrets.write_text("".join(names), encoding="utf-8")
        copies.write_bytes(self.json_file.read_bytes() * 32 + b"\n" + names[0].encode())  # grep wants a hit
        ours = self.lua("redact.lua", self.json_file, secrets, 5)
        pairs = in_turns(5, ours, [self.measure, "grep", "-F", "-c", "-f", secrets, copies])
        a, _, _ = column(pairs, 0)
        what = f"masking 1,000 secrets in all their forms, {size / a / 1e6:.0f} MB/s"
        yield self.speed(what, pairs, 0, "`grep -F -f`, as they are", 1)

    def spawn(self):
        for heap in (0, 1024):
            arguments = [100, heap, "/bin/true"]
            pairs = in_turns(21, self.lua("spawn.lua", *arguments), [self.spawn_peer, *arguments])
            a, b, ratio = column(pairs, 0)
            what = f"a child from start to end, {heap // 1024} GiB of heap"
            peer = f"posix_spawn in C: {seconds(b)}"
            yield Row(what, seconds(a), peer, f"{ratio:.2f}x", "<= 1.1x", ratio <= 1.1)

    def in_fresh_folders(self, rounds, ours, peer):
        """As in_turns; each side is a function of a new folder that gives its command."""
        pairs = []
        for _ in range(rounds):
            numbers = []
            for side in (ours, peer):
                with tempfile.TemporaryDirectory(prefix="wsrun-bench-") as folder:
                    numbers.append(output(*side(folder)))
            pairs.append(tuple(numbers))
        return pairs

    def steps(self):
        def ours(what, n):
            return lambda folder: ["env", f"WSRUN_STATE_DIR={folder}", *self.lua("steps.lua", what, n)]

        commit = compile_peer(self.folder, "sqlite_commit", "sqlite3")
        pairs = self.in_fresh_folders(9, ours("sequential", 400), lambda folder: [commit, f"{folder}/db", 400])
        a, b, ratio = column(pairs, 0)
        peer = f"one commit of SQLite in C: {seconds(b)}"
        yield Row("a durable step", seconds(a), peer, f"{ratio:.2f}x", "<= 2.6x", ratio <= 2.6)
        pairs = self.in_fresh_folders(3, ours("sequential", 400),
                                      lambda folder: [sys.executable, HERE / "steps_dbos.py", folder, 200])
        a, b, ratio = column(pairs, 0)
        yield Row("a durable step", seconds(a), f"DBOS on SQLite: {seconds(b)}", f"{ratio:.2f}x", "<= 0.35x",
                  ratio <= 0.35)
        pairs = self.in_fresh_folders(5, ours("parallel", 6400), lambda folder: [commit, f"{folder}/db", 400])
        a, b, ratio = column(pairs, 0)
        yield Row(f"a durable step, 64 in flight: {1 / a:.0f} steps/s", seconds(a), f"one commit: {seconds(b)}",
                  f"{ratio:.2f}x", ">= 5,000 steps/s", 1 / a >= 5000)
        makefile = self.folder / "graph.mk"
        makefile.write_text("all: " + " ".join(f"c{c}.10" for c in range(100)) + "\n" + "".join(
            f"c{c}.{i}:{f' c{c}.{i - 1}' if i > 1 else ''}\n\t@/bin/true\n" for c in range(100) for i in range(1, 11)),
            encoding="utf-8")
        pairs = self.in_fresh_folders(5, ours("graph", 1000),
                                      lambda folder: [self.measure, "make", "-s", "-j2", "-f", makefile])
        pairs = [((a[0],), (b[0] / 1000,)) for a, b in pairs]
        a, b, ratio = column(pairs, 0)
        yield Row("a node of a graph of 1,000, no journal", seconds(a), f"make -j2: {seconds(b)}", f"{ratio:.2f}x",
                  "<= 1.2x", ratio <= 1.2)
        pairs = self.in_fresh_folders(3, ours("resume", 10000), lambda folder: [commit, f"{folder}/db", 400])
        a, b, ratio = column(pairs, 0)
        yield Row("resuming a run of 10,000 steps", seconds(a), f"one commit: {seconds(b)}", f"{ratio:.0f}x", "<= 1 s",
                  a <= 1)

    def many(self):
        text = (TOP / "manifests" / "dev-seb.yaml").read_text(encoding="utf-8")
        rounds, count, jobs = [], 50, 10
        with tempfile.TemporaryDirectory(prefix="wsrun-bench-") as folder:
            top = pathlib.Path(folder)
            (top / "manifests").mkdir()
            (top / "workflows").mkdir()
            (top / "workflows" / "lib").symlink_to(TOP / "workflows" / "lib")
            shutil.copy(HERE / "many.lua", top / "workflows" / "many.lua")
            for i in range(count):
                name = f"many-{i:02}"
                manifest = text.replace("name: dev-seb", f"name: {name}", 1)
                (top / "manifests" / f"{name}.yaml").write_text(manifest, encoding="utf-8")
            for _ in range(3):
                rounds.append([output(self.measure, self.wsrun, "-C", top, "-q", "run", "many", which, "--jobs", jobs)
                               for which in ("many-*", "many-00")])
        wall = statistics.median(all_of[0] for all_of, _ in rounds)
        child = statistics.median(output(self.measure, "sleep", "0.25")[0] for _ in range(9))
        ideal = count * 4 * child / jobs
        over = wall / ideal - 1
        yield Row(f"{count} platforms in one process, {jobs} steps at once", seconds(wall),
                  f"their children alone: {seconds(ideal)}", f"{100 * over:+.1f} %", "<= +2 %", over <= 0.02)
        each = statistics.median((all_of[1] - one[1]) / (count - 1) for all_of, one in rounds)
        peak = statistics.median(all_of[1] for all_of, _ in rounds)
        yield Row(f"peak memory of {count} platforms", mebibytes(peak), "each one more", mebibytes(each), "<= 2 MiB",
                  each <= 2048)

    def platform(self):
        rounds = [(platform_run.create(self.wsrun), platform_run.create(self.wsrun, "--jobs", "1")) for _ in range(3)]
        wall = statistics.median(together.wall for together, _ in rounds)
        chain = statistics.median(together.longest_chain() for together, _ in rounds)
        over = statistics.median(together.wall / together.longest_chain() - 1 for together, _ in rounds)
        peer = f"longest chain of its {len(rounds[0][0].children)} children: {seconds(chain)}"
        yield Row("create_platform", seconds(wall), peer, f"{100 * over:+.1f} %", "<= +3 %", over <= 0.03)
        alone = statistics.median(one.wall for _, one in rounds)
        fast = statistics.median(one.wall / together.wall for together, one in rounds)
        peer = f"one step at a time (`--jobs 1`): {seconds(alone)}"
        yield Row("create_platform", seconds(wall), peer, f"{fast:.2f}x as fast", ">= 1.4x", fast >= 1.4)

    def push(self):
        with image_push.image() as image:
            def ours(ref):
                return output(self.measure, self.wsrun, "--quiet", "image", "push", image, ref)

            def crane(ref):
                return output(self.measure, "crane", "push", image, ref)

            def skopeo(ref):
                return output(self.measure, "skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false",
                              f"oci:{image}", f"docker://{ref}")

            def twice(push):
                """The numbers of a push to an empty registry, and of the same push again."""
                with image_push.registry() as address:
                    return push(f"{address}/bench/app:1"), push(f"{address}/bench/app:1")

            for peer, goals in ((crane, (1.0, 1.0)), (skopeo, (0.75, None))):
                rounds = [tuple(map(twice, (ours, peer) if i % 2 else (peer, ours))) for i in range(9)]
                rounds = [pair if i % 2 else pair[::-1] for i, pair in enumerate(rounds)]
                for n, (what, goal) in enumerate(zip(("first", "again"), goals)):
                    a, b, ratio = column([(mine[n], other[n]) for mine, other in rounds], 0)
                    yield Row(f"push of a 200 MB image, {what}", seconds(a), f"{peer.__name__}: {seconds(b)}",
                              f"{ratio:.2f}x", f"<= {goal:.2f}x" if goal else "", not goal or ratio <= goal)

    def ci(self):
        with ci_run.project(self.wsrun) as project:
            project.ours(), project.script()  # what is only there after a first time is there for both
            rounds = [((project.ours(),), (project.script(),)) for _ in range(5)]
        a, b, ratio = column(rounds, 0)
        storage = "gcloud storage" if shutil.which("gcloud") else "curl in place of gcloud storage, which is not here"
        fast = 1 / ratio
        peer = f"bash with helm, buildah and {storage}: {seconds(b)}"
        yield Row("ci.lua without tests and compiler", seconds(a), peer, f"{fast:.2f}x as fast", ">= 3x", fast >= 3)

    def cd(self):
        with cd_run.platform(self.wsrun) as platform:
            rounds = [((platform.ours(),), (platform.helm(),)) for _ in range(7)]
        a, b, ratio = column(rounds, 0)
        over = ratio - 1
        yield Row("cd.lua", seconds(a), f"`helm upgrade --wait`: {seconds(b)}", f"{100 * over:+.1f} %", "<= +5 %",
                  over <= 0.05)


def table(rows):
    lines = ["| what | wsrun | peer | ratio | goal | met |", "| --- | --- | --- | --- | --- | --- |"]
    for r in rows:
        met = ("yes" if r.met else "no") if r.goal else ""
        lines.append(f"| {r.what} | {r.ours} | {r.peer} | {r.ratio} | {r.goal} | {met} |")
    return "\n".join(lines)


def keep(text):
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    processor = model.group(1) if model else platform.machine()
    machine = f"{os.cpu_count()} processors ({processor}), Linux {'.'.join(platform.release().split('.')[:2])}"
    note = f"Measured on {datetime.date.today()}, {machine}."
    PAGE.write_text(f"{head}{BEGIN}\n{note}\n\n{text}\n{END}{tail}", encoding="utf-8")


def main():
    words = [w for w in sys.argv[1:] if w != "--check"]
    bench = Bench(pathlib.Path(words[0]).resolve())
    chosen = words[1:] or list(bench.all())
    unknown = [name for name in chosen if name not in bench.all()]
    if unknown:
        sys.exit(f"bench: no benchmark {', '.join(unknown)}; there are: {', '.join(bench.all())}")
    rows = []
    for name in chosen:
        print(f"bench: {name}", file=sys.stderr)
        rows += bench.all()[name]()
    text = table(rows)
    print(text)
    if not words[1:]:
        keep(text)
    if "--check" in sys.argv and not all(row.met for row in rows):
        sys.exit("bench: a goal was missed")


main()
