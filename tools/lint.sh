#!/usr/bin/env bash
# Checks form and style of everything that is under version control or could be:  tools/lint.sh
#
# Runs every check although one failed, and fails at the end. Needs the configured build folder (compile commands) and,
# for the documentation, build/wsrun. Environment: V=1 shows what the checkers say.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${1:-build}
PATH=${WSRUN_CACHE:-.cache}/tools/bin:$PATH
failed=()

# check NAME COMMAND...
check() {
  local name=$1 log
  shift
  log=$build/lint-${name// /-}.log
  if "$@" >"$log" 2>&1 </dev/null; then
    say "ok      $name"
    [ -z "${V:-}" ] || cat "$log"
  else
    say "FAILED  $name"
    cat "$log"
    failed+=("$name")
  fi
}

format_c() {
  project_files '*.c' '*.h' | xargs -r clang-format --dry-run -Werror
}

# Only what the build compiles has its flags in the compile commands; generated files are left out.
analyse_c() {
  local top
  top=$(pwd)
  sed -nE 's/^ *"file": "(.*)",?$/\1/p' "$build/compile_commands.json" | sort -u |
    grep -F "$top/" | grep -vF "$top/$build/" |
    xargs -r -n 4 -P "${JOBS:-$(nproc)}" nice clang-tidy --quiet --warnings-as-errors='*' -p "$build"
}

lint_shell() {
  project_files '*.sh' .ci/run | xargs -r shellcheck
}

format_terraform() {
  terraform fmt -check -diff -recursive layers
}

lint_charts() {
  local chart status=0
  for chart in charts/*/Chart.yaml charts/stand-ins/*/Chart.yaml; do
    helm lint --strict "$(dirname "$chart")" || status=1
  done
  return "$status"
}

format_go() {
  local unformatted
  unformatted=$(gofmt -l app/src)
  [ -z "$unformatted" ] || { echo "gofmt would change: $unformatted"; return 1; }
}

check "C format" format_c
check "C analysis" analyse_c
check "Lua" luacheck --no-color --quiet .
check "shell" lint_shell
[ ! -d layers ] || check "Terraform format" format_terraform
[ ! -d charts ] || check "charts" lint_charts
[ ! -d app/src ] || check "Go format" format_go
[ ! -d docs/api ] || check "documentation" "$build/wsrun" doc --check

[ ${#failed[@]} -eq 0 ] || die "failed: ${failed[*]}"
