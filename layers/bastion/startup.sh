#!/bin/sh
# Installs what an operator needs on the bastion. Runs at each start of the machine; the second time does nothing.
set -eu
[ -e /var/lib/bastion-ready ] && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends curl dnsutils jq kubernetes-client netcat-openbsd postgresql-client \
  default-mysql-client
touch /var/lib/bastion-ready
