# Runs the server: bash run.sh
exec portrule-apiserver \
  --etcd-servers=http://127.0.0.1:12379 \
  --bind-address=127.0.0.1 \
  --secure-port=18443 \
  --tls-cert-file=server.crt \
  --tls-private-key-file=server.key \
  --kubeconfig="$KUBECONFIG" \
  --authentication-kubeconfig="$KUBECONFIG" \
  --authorization-kubeconfig="$KUBECONFIG"
