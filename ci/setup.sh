#!/usr/bin/env bash
# Makes a CI machine ready for workflows:  ci/setup.sh
#
# Debian 12, such as the image debian:12, as root or with sudo. Builds build/wsrun from this checkout and gets terraform,
# helm, kubectl and go where PATH lacks them. What it makes lies in build/ and .cache/: a CI that keeps both from job to
# job is ready in seconds, and builds again only when the sources of wsrun are others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/deps.sh build run
# In a container the checkout may be another user's: git works in it only when it is told so.
if [ -e .git ] && ! git rev-parse --git-dir >/dev/null 2>&1; then
  git config --global --add safe.directory "$PWD"
fi

key=$(tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c CMakeLists.txt cmake host modules sandbox |
  sha256sum)
if [ "$(cat build/ci-key 2>/dev/null)" != "$key" ] || ! build/wsrun version >/dev/null; then
  rm -rf build # of another folder or another compiler, perhaps
  tools/build.sh build
  printf '%s\n' "$key" >build/ci-key
fi
build/wsrun version
