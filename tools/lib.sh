# What the scripts of this folder share. Their lines begin with the script's name.
# shellcheck shell=bash
me=$(basename "$0" .sh)

say() { printf '%s: %s\n' "$me" "$*"; }
die() {
  printf '%s: %s\n' "$me" "$*" >&2
  exit 1
}

# quietly LOG COMMAND...: runs it with its output in the file LOG, shown only when it fails; with V=1 on the screen.
quietly() {
  local log=$1
  shift
  if [ -n "${V:-}" ]; then
    "$@" || die "failed: $*"
  elif ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 60 "$log" >&2
    die "failed: $* (whole log: $log)"
  fi
}

# project_files [PATTERN...]: the tracked and the new files below the working directory that match, one a line; nothing
# that git ignores.
project_files() {
  local file
  git ls-files --cached --others --exclude-standard --deduplicate -- "$@" | while IFS= read -r file; do
    if [ -f "$file" ]; then
      printf '%s\n' "$file"
    fi
  done
}
