# An OCI registry: docker-registry over plain HTTP, blobs in DIR/blobs, deletion allowed. Sourced by servers.sh.
# Prints WSRUN_TEST_REGISTRY (127.0.0.1:PORT).
# shellcheck shell=bash disable=SC2154 # port comes from servers.sh
start_registry() {
  local dir=$1
  need docker-registry curl
  free_port
  cat >"$dir/registry.yml" <<YML
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: $dir/blobs}
  delete: {enabled: true}
http:
  addr: 127.0.0.1:$port
YML
  launch "$dir" registry docker-registry serve "$dir/registry.yml"
  answers "$dir" registry curl -fsS --noproxy '*' "http://127.0.0.1:$port/v2/" || return 1
  printf 'WSRUN_TEST_REGISTRY=127.0.0.1:%s\n' "$port"
}
