#!/usr/bin/env bash
# What workflows/ci.lua does, as one writes it with helm, buildah and gcloud storage:  ci.sh VERSION BINARY
#
# Run in the project, with the sandbox's environment. Tests and compiler are left out on both sides; SBOM, provenance
# and the look whether something is built already have no counterpart here. Without gcloud, curl talks to Cloud Storage.
set -euo pipefail
version=$1 binary=$2
repository=$(sed -n 's/^ *registry: //p' wsrun.yaml)/app
bucket=$(sed -n 's/^ *charts-bucket: //p' wsrun.yaml)
registry=${WSRUN_REGISTRY_ENDPOINT#http://}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
export REGISTRY_AUTH_FILE=$work/auth.json CONTAINERS_STORAGE_CONF=$work/storage.conf
printf '[storage]\ndriver="vfs"\ngraphroot="%s/graph"\nrunroot="%s/run"\n' "$work" "$work" >"$CONTAINERS_STORAGE_CONF"
echo '{}' >"$REGISTRY_AUTH_FILE"

upload() { # FILE NAME [PRECONDITION]
  if type -P gcloud >/dev/null; then
    gcloud storage cp --quiet ${3:+"--if-generation-match=$3"} "$1" "gs://$bucket/$2"
  else
    curl -fsS -o /dev/null -H "authorization: Bearer $(cat "$CLOUDSDK_AUTH_ACCESS_TOKEN_FILE")" --data-binary "@$1" \
      "${STORAGE_EMULATOR_HOST%/}/upload/storage/v1/b/$bucket/o?uploadType=media&name=$2${3:+&ifGenerationMatch=$3}"
  fi
}
download() { # NAME FILE
  if type -P gcloud >/dev/null; then
    gcloud storage cp --quiet "gs://$bucket/$1" "$2"
  else
    curl -fsS -o "$2" -H "authorization: Bearer $(cat "$CLOUDSDK_AUTH_ACCESS_TOKEN_FILE")" \
      "${STORAGE_EMULATOR_HOST%/}/storage/v1/b/$bucket/o/$1?alt=media"
  fi
}

helm lint charts/app-chart
helm template app charts/app-chart >/dev/null
helm template app charts/app-chart --is-upgrade --debug >/dev/null # helm install --dry-run wants a cluster

container=$(buildah from scratch)
buildah copy --quiet "$container" "$binary" /app
buildah config --entrypoint '["/app"]' --user 65532:65532 --port 8080 --port 8443 "$container"
buildah commit --quiet "$container" "$repository:$version"
buildah push --quiet --tls-verify=false --digestfile "$work/digest" "$repository:$version" \
  "docker://$registry/$repository:$version"
digest=$(cat "$work/digest")

cp -r charts/app-chart "$work/chart"
sed -i "s/^\( *tag:\).*/\1 \"$version\"/; s/^\( *digest:\).*/\1 \"$digest\"/" "$work/chart/values.yaml"
mkdir "$work/packages"
helm package "$work/chart" --version "$version" --app-version "$version" --destination "$work/packages"
package=app-chart-$version.tgz
upload "$work/packages/$package" "app-chart/$version/$package" 0
merge=()
if download index.yaml "$work/index.yaml" 2>/dev/null; then
  merge=(--merge "$work/index.yaml")
fi
helm repo index "$work/packages" --url "gs://$bucket/app-chart/$version" "${merge[@]}"
upload "$work/packages/index.yaml" index.yaml
printf '{"app":"app","version":"%s","image":{"repository":"%s","digest":"%s"},"chart":{"digest":"sha256:%s"}}\n' \
  "$version" "$repository" "$digest" "$(sha256sum "$work/packages/$package" | cut -d' ' -f1)" >"$work/artifacts.json"
upload "$work/artifacts.json" "app/$version/artifacts.json"
