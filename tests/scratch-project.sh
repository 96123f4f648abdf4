#!/usr/bin/env bash
# Copies the project as it is, with what is not committed, into DIR/project: a git repository whose remote is the bare
# repository DIR/remote.git:  tests/scratch-project.sh DIR
#
# The repository carries its own name and address for commits; the user's git configuration has no part in it when
# GIT_CONFIG_GLOBAL=/dev/null is set, as the callers do.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../tools/lib.sh
. "$top/tools/lib.sh"
[ $# -eq 1 ] && [ -d "$1" ] || die "usage: tests/scratch-project.sh DIR"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1

project=$1/project remote=$1/remote.git
mkdir "$project"
(cd "$top" && project_files . | tar -c --files-from=-) | tar -C "$project" -x
git init -q --bare --initial-branch main "$remote"
git -C "$project" init -q --initial-branch main
git -C "$project" config user.name "wsrun demo"
git -C "$project" config user.email demo@wsrun.invalid
git -C "$project" add -A
git -C "$project" commit -q --no-verify -m "the project as it is"
git -C "$project" remote add origin "$(realpath "$remote")"
git -C "$project" push -q -u origin main
