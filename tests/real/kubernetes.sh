# A Kubernetes control plane: etcd, kube-apiserver, kube-controller-manager, and nodes.sh, which stands in for scheduler
# and nodes: it reports pods as running, so that Deployments, Jobs and `helm --wait` end as on a cluster. Sourced by
# servers.sh.
# Prints KUBECONFIG (DIR/kubeconfig: cluster administrator by client certificate).
# shellcheck shell=bash disable=SC2154 # port and here come from servers.sh

# issue DIR NAME SUBJECT [EXTENSION]: a key and a certificate of the folder's own authority.
issue() {
  local dir=$1 name=$2 subject=$3 extension=${4:-}
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$dir/$name.key" -subj "$subject" \
    2>/dev/null |
    openssl x509 -req -days 2 -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -out "$dir/$name.crt" \
      -extfile <(printf '%s\n' "$extension") 2>/dev/null
}

certificates() {
  local dir=$1
  (
    umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-authority \
      -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
    issue "$dir" server /CN=kube-apiserver subjectAltName=IP:127.0.0.1,DNS:localhost
    issue "$dir" admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$dir/service-account.key" 2>/dev/null
  )
}

write_kubeconfig() {
  local dir=$1 port=$2
  (
    umask 077
    cat >"$dir/kubeconfig" <<YML
apiVersion: v1
kind: Config
current-context: test
clusters:
- name: test
  cluster:
    server: https://127.0.0.1:$port
    certificate-authority-data: $(base64 -w0 "$dir/ca.crt")
users:
- name: admin
  user:
    client-certificate-data: $(base64 -w0 "$dir/admin.crt")
    client-key-data: $(base64 -w0 "$dir/admin.key")
contexts:
- name: test
  context: {cluster: test, user: admin}
YML
  )
}

start_kubernetes() {
  local dir=$1 etcd peer
  need etcd kube-apiserver kube-controller-manager kubectl openssl curl
  [ -f "$dir/ca.crt" ] || certificates "$dir"

  free_port
  etcd=http://127.0.0.1:$port
  free_port
  peer=http://127.0.0.1:$port
  launch "$dir" etcd etcd --data-dir "$dir/etcd" --log-level warn --logger zap \
    --listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer"
  answers "$dir" etcd curl -fsS --noproxy '*' "$etcd/health" || return 1

  free_port
  write_kubeconfig "$dir" "$port"
  # No advertised address: nothing in the cluster calls the API server by its service.
  launch "$dir" kube-apiserver kube-apiserver --etcd-servers "$etcd" \
    --bind-address 127.0.0.1 --secure-port "$port" --external-hostname 127.0.0.1 --endpoint-reconciler-type none \
    --tls-cert-file "$dir/server.crt" --tls-private-key-file "$dir/server.key" --client-ca-file "$dir/ca.crt" \
    --authorization-mode RBAC --allow-privileged --service-cluster-ip-range 10.96.0.0/16 --profiling=false \
    --service-account-issuer https://kubernetes.default.svc \
    --service-account-signing-key-file "$dir/service-account.key" --service-account-key-file "$dir/service-account.key"
  answers "$dir" kube-apiserver env KUBECONFIG="$dir/kubeconfig" kubectl get --raw /readyz || return 1

  launch "$dir" kube-controller-manager kube-controller-manager --kubeconfig "$dir/kubeconfig" \
    --leader-elect=false --secure-port 0 --profiling=false --kube-api-qps 500 --kube-api-burst 1000 \
    --root-ca-file "$dir/ca.crt" --service-account-private-key-file "$dir/service-account.key"
  answers "$dir" kube-controller-manager \
    env KUBECONFIG="$dir/kubeconfig" kubectl -n default get serviceaccount default || return 1

  launch "$dir" nodes "$here/nodes.sh" "$dir/kubeconfig"
  printf 'KUBECONFIG=%s\n' "$dir/kubeconfig"
}
