#!/bin/sh
# Installs what an operator needs on the bastion. Runs at each start of the machine; the second time does nothing.
set -eu
[ -e /var/lib/bastion-ready ] && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends curl dnsutils jq netcat-openbsd postgresql-client default-mysql-client
# Google's Debian images have Google's own packages among their sources; another image may not.
apt-get install --yes --no-install-recommends kubectl google-cloud-cli-gke-gcloud-auth-plugin ||
  echo "kubectl is not among the packages of this image"
touch /var/lib/bastion-ready
