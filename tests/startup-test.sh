#!/usr/bin/env bash
# What a start loads: no library before a script needs it, and each of them when it does.
set -euo pipefail
wsrun=${WSRUN:-build/wsrun}

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
# The libraries that the dynamic linker initialised while CODE ran.
loaded() {
  LD_DEBUG=files "$wsrun" -e "$1" 2>&1 >/dev/null | sed -n 's/.*calling init: .*\/\(lib[a-z0-9-]*\).*/\1/p' | sort -u
}

start=$(loaded '')
grep -qx liblua5 <<<"$start" || fail "the linker says nothing of what it loads: $start"
for library in libcurl libssl libcrypto libsqlite3 libmicrohttpd libarchive libnghttp2 libexpat libedit; do
  ! grep -qx "$library" <<<"$start" || fail "an empty program loads $library"
done
grep -qx libcurl <<<"$(loaded 'require("ws.http").get("http://127.0.0.1:1/")')" || fail "a request comes without libcurl"
echo "start-up: all well"
