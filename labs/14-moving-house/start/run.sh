# Runs the server: bash run.sh
# As it is, it has an etcd of its own and a place of its own in there. Edit the flags.
exec portrule-apiserver \
  --group=moving.firewalld.fedoraproject.org \
  --etcd-servers=http://127.0.0.1:12379 \
  --etcd-prefix=/registry/moving-house \
  --bind-address=127.0.0.1 \
  --secure-port=18614 \
  --tls-cert-file=server.crt \
  --tls-private-key-file=server.key \
  --kubeconfig="$KUBECONFIG" \
  --authentication-kubeconfig="$KUBECONFIG" \
  --authorization-kubeconfig="$KUBECONFIG"
