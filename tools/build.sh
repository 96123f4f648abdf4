#!/usr/bin/env bash
# Configures and builds:  tools/build.sh FOLDER [CMAKE_ARGUMENT...]
#
# Quiet unless something fails. Environment: JOBS (default: one per processor), V=1 shows what CMake and Ninja say.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -gt 0 ] || die "usage: tools/build.sh FOLDER [CMAKE_ARGUMENT...]"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$1
shift
mkdir -p "$folder"
launcher=()
if type -P ccache >/dev/null; then
  launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
fi
say "$folder"
quietly "$folder/configure.log" cmake -S . -B "$folder" -G Ninja "${launcher[@]}" "$@"
quietly "$folder/build.log" cmake --build "$folder" --parallel "${JOBS:-$(nproc)}"
