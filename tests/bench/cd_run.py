"""cd.lua and `helm upgrade --wait` on one platform of one sandbox: the same application, each time a new version."""
import contextlib

import ci_run

RELEASE, NAMESPACE = "test-app", "test-app"


class Platform:
    def __init__(self, project):
        self.project = project
        project.run("--sandbox", "workflows/create_platform.lua", "dev-seb", "--skip-apps")
        self.fetch = project.dir.parent / "fetch.lua"
        self.fetch.write_text('local fs, gcs = require "ws.fs", require "ws.gcs"\n'
                              'assert(fs.write(arg[2], (assert(gcs.get(arg[1])))))\n', encoding="utf-8")

    def publish(self):
        self.project.ours()
        return f"1.0.{self.project.count}"

    def ours(self):
        return self.project.run("--sandbox", "workflows/cd.lua", "dev-seb", RELEASE, self.publish())

    def helm(self):
        version = self.publish()
        name = f"app-chart-{version}.tgz"
        package = self.project.dir.parent / name
        shell = ("sandbox", "shell", "--")
        self.project.run(*shell, self.project.wsrun, self.fetch,
                         f"gs://charts-wescale-sandbox/app-chart/{version}/{name}", package)
        return self.project.run(*shell, "helm", "upgrade", RELEASE, package, "--namespace", NAMESPACE,
                                "--reset-then-reuse-values", "--wait", "--timeout", "10m")


@contextlib.contextmanager
def platform(wsrun):
    with ci_run.project(wsrun) as project:
        made = Platform(project)
        made.ours()  # the first one installs
        yield made
