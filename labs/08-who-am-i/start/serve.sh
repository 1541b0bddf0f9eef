#!/bin/bash
# serve.sh [FLAGS]: the server of this lab, on a port that is free. A flag that is given
# again replaces the one that stands here, and an empty one takes it back: --client-ca-file=
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
state=$root/labs/.state/build/08-who-am-i
spare=$(cat "$state/spare")
# even if this shell is in a Pod, the server does not belong to that cluster
unset KUBERNETES_SERVICE_HOST
exec "$root/bin/portrule-apiserver" \
  --group=who.firewalld.fedoraproject.org \
  --etcd-servers="$(cat "$state/etcd")" \
  --bind-address=127.0.0.1 \
  --secure-port="${spare##*:}" \
  --tls-cert-file="$state/serving.crt" \
  --tls-private-key-file="$state/serving.key" \
  --kubeconfig="$state/server.kubeconfig" \
  --authorization-kubeconfig="$state/server.kubeconfig" \
  --authentication-kubeconfig="$state/server.kubeconfig" \
  --client-ca-file="$state/clients.crt" \
  --requestheader-client-ca-file="$state/front-proxies.crt" \
  --requestheader-allowed-names=front-proxy-client,lab-proxy \
  --requestheader-uid-headers=X-Remote-Uid \
  "$@"
