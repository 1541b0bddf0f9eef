# Runs the server: bash run.sh
exec portrule-apiserver \
  --group=moving.firewalld.fedoraproject.org \
  --etcd-servers="$(bash etcd.sh)" \
  --etcd-prefix=/registry/moving-house \
  --storage-media-type=application/json \
  --bind-address=127.0.0.1 \
  --secure-port=18614 \
  --tls-cert-file=server.crt \
  --tls-private-key-file=server.key \
  --kubeconfig="$KUBECONFIG" \
  --authentication-kubeconfig="$KUBECONFIG" \
  --authorization-kubeconfig="$KUBECONFIG"
