#!/usr/bin/env bash
# Stands in for scheduler, nodes and load balancers of a real control plane:  nodes.sh KUBECONFIG
#
# Every new pod is reported as running and ready, a Job's pod as succeeded; a pod with an image whose name contains
# `broken` stays waiting with ErrImagePull. Services of type LoadBalancer get an address, claims are bound. Nothing
# runs. Ends on TERM.
set -euo pipefail
export KUBECONFIG=$1
# Leader of its own group, which it ends as a whole.
[ "$(ps -o pgid= -p $$)" -eq $$ ] || exec setsid "$0" "$@"
trap 'trap - TERM; kill 0' TERM EXIT

now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# watched KIND TEMPLATE: a line per object and change, for ever.
watched() {
  while :; do
    kubectl get "$1" -A --watch -o go-template="$2{{\"\\n\"}}" </dev/null || true
    sleep 0.5
  done
}

report() { # report KIND NAMESPACE NAME STATUS
  kubectl -n "$2" patch "$1" "$3" --subresource status --type merge -p "{\"status\": $4}" </dev/null >/dev/null || true
}

# containers STATE READY NAME=IMAGE...: the containerStatuses of a pod.
containers() {
  local state=$1 ready=$2 pair list=()
  shift 2
  for pair in "$@"; do
    list+=("{\"name\": \"${pair%%=*}\", \"image\": \"${pair#*=}\", \"imageID\": \"\", \"restartCount\": 0,
      \"ready\": $ready, \"started\": $ready, \"state\": $state}")
  done
  local IFS=,
  printf '[%s]' "${list[*]}"
}

pod() {
  local namespace=$1 name=$2 owner=$3 time phase state ready=True reason=
  shift 3
  time=$(now)
  if [[ $* == *broken* ]]; then
    phase=Pending ready=False
    state='{"waiting": {"reason": "ErrImagePull", "message": "image cannot be pulled"}}'
  elif [ "$owner" = Job ]; then
    phase=Succeeded ready=False reason=', "reason": "PodCompleted"'
    state="{\"terminated\": {\"exitCode\": 0, \"reason\": \"Completed\",
      \"startedAt\": \"$time\", \"finishedAt\": \"$time\"}}"
  else
    phase=Running
    state="{\"running\": {\"startedAt\": \"$time\"}}"
  fi
  report pod "$namespace" "$name" "{\"phase\": \"$phase\", \"startTime\": \"$time\", \"conditions\": [
    {\"type\": \"PodScheduled\", \"status\": \"True\", \"lastTransitionTime\": \"$time\"},
    {\"type\": \"Initialized\", \"status\": \"True\", \"lastTransitionTime\": \"$time\"},
    {\"type\": \"ContainersReady\", \"status\": \"$ready\", \"lastTransitionTime\": \"$time\"$reason},
    {\"type\": \"Ready\", \"status\": \"$ready\", \"lastTransitionTime\": \"$time\"$reason}],
    \"containerStatuses\": $(containers "$state" "${ready,,}" "$@")}"
}

pods() {
  watched pods '{{.metadata.namespace}} {{.metadata.name}} {{
    with .metadata.ownerReferences}}{{(index . 0).kind}}{{end}}/ {{
    if .status.containerStatuses}}reported{{end}}/{{range .spec.containers}} {{.name}}={{.image}}{{end}}' |
    while read -r namespace name owner reported images; do
      [ "$reported" = / ] || continue
      # shellcheck disable=SC2086 # a word per container
      pod "$namespace" "$name" "${owner%/}" $images
    done
}

services() {
  watched services '{{.metadata.namespace}} {{.metadata.name}} {{.spec.type}} {{
    if .status.loadBalancer.ingress}}reported{{end}}/' |
    while read -r namespace name type reported; do
      if [ "$type" = LoadBalancer ] && [ "$reported" = / ]; then
        report service "$namespace" "$name" '{"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}}'
      fi
    done
}

claims() {
  watched persistentvolumeclaims '{{.metadata.namespace}} {{.metadata.name}} {{.status.phase}}/' |
    while read -r namespace name phase; do
      if [ "$phase" != Bound/ ]; then
        report persistentvolumeclaim "$namespace" "$name" '{"phase": "Bound"}'
      fi
    done
}

pods &
services &
claims &
wait
