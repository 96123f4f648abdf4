#!/usr/bin/env bash
# tools/deps.sh against stand-ins for apt-get, dpkg-query, sudo, id and go, in a scratch copy with a cache of its own.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r "$top/tools" "$scratch/tools"
mkdir "$scratch/bin"
calls=$scratch/calls
touch "$calls"
export calls WSRUN_CACHE=$scratch/cache PATH=$scratch/bin:/usr/bin:/bin
unset V

fail() { printf 'FAILED: %s\n--- output\n%s\n--- calls\n%s\n' "$*" "$out" "$(cat "$calls")" >&2; exit 1; }
deps() { : >"$calls"; rc=0; out=$("$scratch/tools/deps.sh" "$@" 2>&1) || rc=$?; }
called() { grep -c -- "$1" "$calls" || true; }
program() { cat >"$scratch/bin/$1"; chmod +x "$scratch/bin/$1"; }

# All packages are there, terraform is too old, helm and kubectl will do.
program dpkg-query <<'S'
#!/bin/sh
for p; do case $p in -*|*'$'*) ;; *) [ "$p" = "$missing" ] || echo "ii $p" ;; esac; done
S
program id <<'S'
#!/bin/sh
echo "${uid:-0}"
S
for p in apt-get sudo; do
  program $p <<'S'
#!/bin/sh
echo "$(basename "$0") $*" >>"$calls"
[ "$(basename "$0")" = apt-get ] || exec "$@"
S
done
program go <<'S'
#!/bin/sh
[ "$1" = build ] || { echo "go version go1.26.1 linux/amd64"; exit; }
echo "go $* in $(basename "$PWD")" >>"$calls"
[ -z "$broken" ] || { echo "the compiler says no"; exit 1; }
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\necho built\n' >"$2"
S
program terraform <<<'#!/bin/sh
echo "Terraform v1.4.6"'
program helm <<<'#!/bin/sh
echo "v3.18.4+gd80839c"'
program kubectl <<<'#!/bin/sh
echo "Client Version: v1.32.0"'

deps run
[ $rc = 0 ] || fail "deps run ended with $rc"
[ "$(called '^go build')" = 1 ] || fail "only terraform is too old"
[ "$(called 'github.com/hashicorp/terraform in terraform')" = 1 ] || fail "terraform is built from its own module"
[ "$("$WSRUN_CACHE/tools/bin/terraform")" = built ] || fail "terraform is in the cache"
[ "$(called apt-get)" = 0 ] || fail "no package is missing"

deps run
[ $rc = 0 ] && [ -z "$out" ] && [ ! -s "$calls" ] || fail "a second call does nothing"

echo >>"$scratch/tools/go/terraform/go.sum"
deps run
[ "$(called '^go build')" = 1 ] || fail "other pins, another build"

# Two at once take turns: the second finds it built.
rm -rf "$WSRUN_CACHE" && : >"$calls"
"$scratch/tools/deps.sh" run >/dev/null & first=$!
"$scratch/tools/deps.sh" run >/dev/null
wait $first
[ "$(called '^go build')" = 1 ] || fail "two at once build once"

rm -rf "$WSRUN_CACHE"
broken=1 deps run
[ $rc = 1 ] && [[ $out == *"the compiler says no"* ]] || fail "a failed build says why"
[ ! -e "$WSRUN_CACHE/tools/bin/terraform" ] || fail "a failed build installs nothing"
deps run
[ $rc = 0 ] && [ "$(called '^go build')" = 1 ] || fail "after a failure the next call builds"
[ -z "$(find "$WSRUN_CACHE" -name 'work.*')" ] || fail "work folders are removed"

missing=ca-certificates deps run
[ $rc = 0 ] && [ "$(called 'apt-get .*install .* ca-certificates$')" = 1 ] || fail "what is missing is installed"
[ "$(called sudo)" = 0 ] || fail "root needs no sudo"
missing=ca-certificates uid=1000 deps run
[ $rc = 0 ] && [ "$(called '^sudo .*apt-get .*install')" = 1 ] || fail "others install with sudo"

# A program that PATH has too old is built, one that is new enough is not; what is "ours" always is.
for p in etcd docker-registry; do program $p <<<'#!/bin/sh'; done
program crane <<<'#!/bin/sh
echo 0.1.0'
deps test
[ $rc = 0 ] && [ "$(called 'cmd/crane in crane')" = 1 ] || fail "crane is too old"
[ "$(called 'conformance in oci-conformance')" = 1 ] || fail "the conformance suite is built"
deps test
[ $rc = 0 ] && [ ! -s "$calls" ] || fail "a second call builds nothing"
rm "$WSRUN_CACHE/tools/bin/crane"
program crane <<<'#!/bin/sh
echo 0.20.3'
deps test
[ $rc = 0 ] && [ "$(called 'cmd/crane')" = 0 ] || fail "crane on PATH will do"

deps everything
[ $rc = 1 ] && [[ $out == *"unknown group 'everything'"* ]] || fail "an unknown group is refused"
echo "tools/deps.sh: all well"
