#!/usr/bin/env bash
# Real servers for the tests, on loopback and on free ports:
#
#   servers.sh start NAME DIR              starts NAME, with all it writes in DIR; prints what to put in the environment
#   servers.sh stop DIR                    stops what was started there; when it returns, the processes are gone
#   servers.sh with NAME... -- COMMAND...  runs COMMAND beside them and ends with its code; leaves nothing behind
#
# NAME: kubernetes (etcd, kube-apiserver, its controllers, and a stand-in for nodes), gcs (fake-gcs-server),
# registry (docker-registry). What each puts in the environment stands at the top of its file in this folder.
#
# A server started by `with` also ends when this script is killed. `start` returns only when the server answers; it
# gives up after a minute, with the end of its log.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
PATH=${WSRUN_CACHE:-$project/.cache}/tools/bin:$PATH
names=(kubernetes gcs registry)

die() {
  printf 'servers: %s\n' "$*" >&2
  exit 1
}

usage() {
  die "usage: servers.sh start NAME DIR | stop DIR | with NAME... -- COMMAND..."
}

need() {
  local program
  for program in "$@"; do
    type -P "$program" >/dev/null || die "no $program on PATH; make deps gets it"
  done
}

# free_port: sets $port to one that nobody listens on. Below the range that the system hands out by itself, so that only
# another call of this script could take it meanwhile; `launch` then fails and `attempt` tries again.
free_port() {
  for _ in {1..100}; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  done
  die "no free port"
}

# launch DIR NAME COMMAND...: in the background, logs to DIR/NAME.log, process id in DIR/NAME.pid.
launch() {
  local dir=$1 name=$2
  shift 2
  set -- setsid "$@" # leads its own session: a Ctrl-C for the tests is not for it, and what it starts ends with it
  [ -z "${tied:-}" ] || set -- setpriv --pdeathsig TERM "$@"
  "$@" </dev/null >"$dir/$name.log" 2>&1 9>&- &
  echo $! >"$dir/$name.pid"
}

# answers DIR NAME COMMAND...: waits until COMMAND succeeds; fails when the process NAME ends or a minute has passed.
answers() {
  local dir=$1 name=$2 deadline=$((SECONDS + 60))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$(cat "$dir/$name.pid")" 2>/dev/null || [ $SECONDS -ge $deadline ]; then
      tail -n 20 "$dir/$name.log" >&2
      return 1
    fi
    sleep 0.1
  done
}

# attempt FUNCTION DIR: a port may be taken between looking and listening; then once more with others.
attempt() {
  for _ in 1 2 3; do
    if "$@"; then
      return 0
    fi
    stop "$2"
  done
  die "$1: gave up; its logs are in $2"
}

# alive PID: whether anything of the session that it leads still runs.
alive() {
  # shellcheck disable=SC2009 # pgrep counts what ended and was not yet waited for
  ps -o stat= -s "$1" | grep -qv '^Z'
}

# stop DIR: TERM, and KILL after ten seconds; the last started goes first, since it may need the others to end well.
stop() {
  local file pid deadline
  while read -r file; do
    pid=$(cat "$file")
    kill -TERM -- "-$pid" 2>/dev/null || true
    deadline=$((SECONDS + 10))
    while alive "$pid"; do
      [ $SECONDS -lt $deadline ] || kill -KILL -- "-$pid" 2>/dev/null || true
      sleep 0.05
    done
    rm -f "$file"
  done < <(find "$1" -maxdepth 1 -name '*.pid' -printf '%T@ %p\n' | sort -rn | cut -d' ' -f2-)
}

start() {
  local name=$1 dir=$2
  [[ " ${names[*]} " == *" $name "* ]] || die "unknown server '$name'; there are: ${names[*]}"
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  # shellcheck source=/dev/null
  . "$here/$name.sh"
  attempt "start_$name" "$dir"
}

# leave: the end of `with`.
leave() {
  local server
  for server in "$scratch"/*/; do
    [ ! -d "$server" ] || stop "$server" || true
  done
  rm -rf "$scratch"
}

with() {
  local servers=() name status=0
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    servers+=("$1")
    shift
  done
  [ $# -gt 1 ] || usage
  shift
  tied=1
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/wsrun-real.XXXXXX")
  trap leave EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  for name in "${servers[@]}"; do
    start "$name" "$scratch/$name" >"$scratch/$name.env"
    while IFS= read -r line; do
      export "${line?}"
    done <"$scratch/$name.env"
  done
  "$@" || status=$?
  exit "$status"
}

case ${1:-} in
  start) [ $# -eq 3 ] || usage; start "$2" "$3" ;;
  stop) [ $# -eq 2 ] || usage; [ ! -d "$2" ] || stop "$2" ;;
  with) shift; with "$@" ;;
  *) usage ;;
esac
