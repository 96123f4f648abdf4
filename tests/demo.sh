#!/usr/bin/env bash
# Shows the main job on this machine:  tests/demo.sh WSRUN
#
# In a scratch copy of the tree, with a bare git repository as its remote, creates the platform that
# manifests/dev-seb.yaml describes in a local sandbox with the real terraform, helm and kubectl, looks at what was made,
# and creates it once more. Fails when anything is not as it should be. KEEP=1 leaves the copy and its sandbox there.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wsrun=$(realpath "$1")
scratch=$(mktemp -d "${TMPDIR:-/tmp}/wsrun-demo.XXXXXX")
project=$scratch/project remote=$scratch/remote.git

# shellcheck source=../tools/lib.sh
. "$top/tools/lib.sh"

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }

leave() {
  local status=$?
  if [ -n "${KEEP:-}" ]; then
    printf '\nThe copy is in %s and its sandbox is up.\n' "$project"
    printf 'Go there and try "wsrun sandbox shell"; "wsrun sandbox down" ends it.\n'
  else
    [ ! -d "$project" ] || (cd "$project" && "$wsrun" sandbox down >/dev/null 2>&1) || true
    rm -rf "$scratch"
  fi
  exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

PATH=$(dirname "$wsrun"):$PATH
export WSRUN_CACHE=${WSRUN_CACHE:-$top/.cache} # the copy uses the tools that make deps got
unset WSRUN_STATE_DIR WSRUN_SOURCE KUBECONFIG
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 # nothing of the user's has a part in this

title "a scratch copy of the project, with a git remote of its own"
"$top/tests/scratch-project.sh" "$scratch"
cd "$project"
printf '%s\n' "$project"

title "create the platform"
show wsrun --sandbox workflows/create_platform.lua dev-seb

title "what runs there"
show wsrun sandbox shell -- kubectl get deploy -A
show wsrun sandbox shell -- helm list -A

title "what was written back"
show git -C "$remote" log -p -1 --format='%h %s' --unified=0 -- manifests
[ "$(git -C "$remote" rev-list --count main)" = 2 ] || die "the remote should have one commit more"
[ "$(git -C "$remote" show --format= --numstat main | cut -f1,2)" = $'1\t0' ] || die "that commit should add one line"
git diff --quiet HEAD && [ -z "$(git status --porcelain)" ] || die "the copy is not as committed"

title "create it again: nothing to change"
before=$(sha256sum manifests/dev-seb.yaml)
show wsrun --sandbox workflows/create_platform.lua dev-seb
[ "$(sha256sum manifests/dev-seb.yaml)" = "$before" ] || die "the second run changed the manifest"
[ "$(git -C "$remote" rev-list --count main)" = 2 ] || die "the second run pushed a commit"

title "done"
