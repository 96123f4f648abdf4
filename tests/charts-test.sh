#!/usr/bin/env bash
# The charts on a real Kubernetes API server: every field is known to it, every release becomes ready, and what one
# chart defines the next one can use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${KUBECONFIG_OF_TEST:-}" ]; then
  exec tests/real/servers.sh with kubernetes -- env KUBECONFIG_OF_TEST=yes "$PWD/tests/charts-test.sh"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# install RELEASE CHART NAMESPACE ARGS...
install() {
  local release=$1 chart=$2 namespace=$3
  shift 3
  helm upgrade --install "$release" "$chart" --namespace "$namespace" --create-namespace --wait --timeout 90s "$@" \
    >"$scratch/log" 2>&1 || { cat "$scratch/log"; echo "FAILED: $chart was not installed"; exit 1; }
  helm get manifest "$release" --namespace "$namespace" >"$scratch/objects.yaml"
  if [ -s "$scratch/objects.yaml" ]; then
    kubectl config set-context --current --namespace "$namespace" >/dev/null # for objects that name none
    kubectl apply --filename "$scratch/objects.yaml" --server-side --force-conflicts --dry-run=server \
      --validate=strict \
      >"$scratch/log" 2>&1 ||
      { cat "$scratch/log"; echo "FAILED: $chart has fields that the API server does not know"; exit 1; }
  fi
  echo "ok      $chart"
}

install cert-manager charts/stand-ins/cert-manager cert-manager --set crds.enabled=true
install ingress-nginx charts/stand-ins/ingress-nginx ingress-nginx \
  --set controller.service.type=NodePort,controller.service.nodePorts.https=30443
install kube-prometheus-stack charts/stand-ins/kube-prometheus-stack monitoring
install consul charts/stand-ins/consul consul --set server.replicas=3

kubectl create namespace parcels >/dev/null
install platform charts/platform platform --set issuer.name=selfsigned \
  --set 'prometheus[0].name=parcels,prometheus[0].namespace=parcels'

kubectl --namespace parcels create secret generic parcels-sql --from-literal=host=sql --from-literal=database=parcels \
  --from-literal=username=parcels --from-literal=password=unused >/dev/null
kubectl apply --namespace parcels --filename manifests/apps/parcels --server-side --validate=strict >/dev/null
kubectl --namespace parcels rollout status deployment/parcels --timeout=60s >/dev/null
echo "ok      manifests/apps/parcels"

install test-app charts/app-chart test-app
install everything charts/app-chart test-app --set ingress.host=app.example.com,database.secret=none \
  --set config.COLOUR=blue,certificate.enabled=true,metrics.serviceMonitor.enabled=true \
  --set autoscaling.enabled=true,gke.neg=true \
  --set serviceAccount.googleServiceAccount=apps@example.com
ports=$(kubectl --namespace ingress-nginx get service ingress-nginx-controller \
  --output 'jsonpath={.spec.ports[*].nodePort}')
[[ " $ports " == *" 30443 "* ]] || { echo "FAILED: the ingress controller is not on port 30443 but on $ports"; exit 1; }

for bad in 'kind: Issuer\nspec: {}' 'kind: Certificate\nspec: {}' \
  'kind: Certificate\nspec: {secretName: a, issuerRef: {}}'; do
  if printf 'apiVersion: cert-manager.io/v1\nmetadata: {name: bad, namespace: default}\n%b\n' "$bad" |
    kubectl apply --filename - >"$scratch/log" 2>&1; then
    echo "FAILED: accepted $bad"
    exit 1
  fi
  grep -q 'is invalid' "$scratch/log" ||
    { cat "$scratch/log"; echo "FAILED: $bad was refused for another reason"; exit 1; }
done
echo "ok      the definitions refuse what is wrong"
