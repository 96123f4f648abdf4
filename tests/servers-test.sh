#!/usr/bin/env bash
# tests/real/servers.sh: the real servers come up, do their work, and leave nothing behind.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
servers=$top/tests/real/servers.sh
TMPDIR=$(mktemp -d)
export TMPDIR PATH=${WSRUN_CACHE:-$top/.cache}/tools/bin:$PATH
trap 'rm -rf "$TMPDIR"' EXIT

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
# Of all processes only ours name this scratch folder.
left() { pgrep -af -- "$TMPDIR" | grep -v "^$$ " || true; }

# shellcheck disable=SC2016 # expanded in the inner shell
"$servers" with kubernetes gcs registry -- bash -euc '
  kubectl create deployment web --image nginx --replicas 2
  kubectl rollout status deployment/web --timeout 60s
  kubectl create deployment bad --image registry.example/broken:1
  kubectl create job once --image busybox
  kubectl wait --for condition=complete job/once --timeout 60s
  [ "$(kubectl get deployment bad -o go-template="{{.status.readyReplicas}}")" = "<no value>" ]
  kubectl create namespace short && kubectl delete namespace short --timeout 60s

  json="Content-Type: application/json"
  curl -fsS -H "$json" -d "{\"name\": \"states\"}" "$STORAGE_EMULATOR_HOST/storage/v1/b?project=p" >/dev/null
  curl -fsS -o /dev/null -d hello "$STORAGE_EMULATOR_HOST/upload/storage/v1/b/states/o?uploadType=media&name=a/b"
  [ "$(curl -fsS "$STORAGE_EMULATOR_HOST/storage/v1/b/states/o/a%2Fb?alt=media")" = hello ]

  [ "$(curl -fsS "http://$WSRUN_TEST_REGISTRY/v2/_catalog")" = "{\"repositories\":[]}" ]
' || fail "the servers do not do their work"
[ -z "$(ls "$TMPDIR")" ] || fail "left in the temporary folder: $(ls "$TMPDIR")"
[ -z "$(left)" ] || fail "still running: $(left)"

rc=0
"$servers" with gcs -- sh -c 'exit 7' || rc=$?
[ $rc = 7 ] || fail "the command's code 7 became $rc"

"$servers" start registry "$TMPDIR/registry" >"$TMPDIR/environment"
grep -qx 'WSRUN_TEST_REGISTRY=127.0.0.1:[0-9]*' "$TMPDIR/environment" || fail "start says how to reach the server"
"$servers" stop "$TMPDIR/registry"
[ -z "$(left)" ] || fail "still running after stop: $(left)"

# A killed `with` takes its servers along.
"$servers" with gcs -- sh -c "echo \$\$ >'$TMPDIR/pid'; exec sleep 100" &
with=$!
until [ -s "$TMPDIR/pid" ]; do sleep 0.05; done
kill -KILL $with
wait $with 2>/dev/null || true
for _ in {1..100}; do
  pgrep -f "$TMPDIR.*/objects" >/dev/null || break
  sleep 0.05
done
! pgrep -f "$TMPDIR.*/objects" >/dev/null || fail "the servers outlive a killed call"
kill "$(cat "$TMPDIR/pid")"

rc=0
out=$("$servers" start mysql "$TMPDIR/x" 2>&1) || rc=$?
[ $rc = 1 ] && [[ $out == *"unknown server 'mysql'"* ]] || fail "an unknown server is refused"
before=$(ls "$TMPDIR")
! "$servers" with gcs mysql -- true 2>/dev/null || fail "an unknown server is refused beside a known one"
[ "$(ls "$TMPDIR")" = "$before" ] || fail "a start that fails leaves its folder"
[ -z "$(left)" ] || fail "a start that fails leaves a server: $(left)"
echo "tests/real/servers.sh: all well"
