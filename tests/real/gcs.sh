# Cloud Storage: fake-gcs-server, objects in DIR/objects. Sourced by servers.sh.
# Prints STORAGE_EMULATOR_HOST, with the scheme (http://127.0.0.1:PORT).
# shellcheck shell=bash disable=SC2154 # port comes from servers.sh
start_gcs() {
  local dir=$1
  need fake-gcs-server curl
  free_port
  mkdir -p "$dir/objects"
  launch "$dir" fake-gcs-server fake-gcs-server -scheme http -host 127.0.0.1 -port "$port" \
    -external-url "http://127.0.0.1:$port" -public-host "127.0.0.1:$port" -log-level warn \
    -backend filesystem -filesystem-root "$dir/objects"
  answers "$dir" fake-gcs-server curl -fsS --noproxy '*' "http://127.0.0.1:$port/storage/v1/b?project=test" || return 1
  printf 'STORAGE_EMULATOR_HOST=http://127.0.0.1:%s\n' "$port"
}
