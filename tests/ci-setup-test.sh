#!/usr/bin/env bash
# ci/setup.sh against stand-ins for the scripts that it calls: it builds once, and again when the sources are others.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export calls=$scratch/calls HOME=$scratch/home
mkdir -p ci tools cmake host modules sandbox home
cp "$top/ci/setup.sh" ci/
echo one >CMakeLists.txt

fail() { printf 'FAILED: %s\n--- calls\n%s\n' "$*" "$(cat "$calls")" >&2; exit 1; }
program() { cat >"$1"; chmod +x "$1"; }
setup() { : >"$calls"; ci/setup.sh >/dev/null; }
built() { grep -c '^build' "$calls" || true; }

program tools/deps.sh <<'S'
#!/bin/sh
echo "deps $*" >>"$calls"
S
program tools/build.sh <<'S'
#!/bin/sh
echo "build $*" >>"$calls"
mkdir -p "$1"
printf '#!/bin/sh\necho wsrun version\n' >"$1/wsrun"
chmod +x "$1/wsrun"
S

setup
grep -qx 'deps build run' "$calls" || fail "it gets what is missing"
[ "$(built)" = 1 ] || fail "the first call builds"
setup
[ "$(built)" = 0 ] || fail "the second call has it already"
grep -qx 'deps build run' "$calls" || fail "the tools are looked at each time: the machine may be another"
touch CMakeLists.txt host
setup
[ "$(built)" = 0 ] || fail "another checkout of the same sources"
echo two >host/a.c
setup
[ "$(built)" = 1 ] || fail "other sources"
printf '#!/bin/sh\nexit 127\n' >build/wsrun # as when a library is missing
setup
[ "$(built)" = 1 ] || fail "a program that does not start"
rm build/ci-key
touch build/of-another-folder
setup
[ "$(built)" = 1 ] && [ ! -e build/of-another-folder ] || fail "a build folder that is not its own"

# A checkout that belongs to another user: git refuses until it is told. Only root can make one.
git init -q .
setup
[ ! -e "$HOME/.gitconfig" ] || fail "git is told nothing where it works"
if [ "$(id -u)" = 0 ]; then
  chown 12345 .git
  setup
  git rev-parse --git-dir >/dev/null || fail "git works in the checkout"
  setup
  [ "$(git config --global --get-all safe.directory | wc -l)" = 1 ] || fail "it is told once"
fi
echo "ci/setup.sh: all well"
