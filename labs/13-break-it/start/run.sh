# Runs the server: bash run.sh
# Its objects are in the etcd of the kube-apiserver, under a prefix of their own.
etcd=$(ps -ww -o args= -p "$(cat ../../.state/cluster/kube-apiserver.pid)" | tr ' ' '\n' | sed -n 's/^--etcd-servers=//p')
exec portrule-apiserver \
  --group=broken.firewalld.fedoraproject.org \
  --etcd-servers="$etcd" \
  --etcd-prefix=/registry/break-it \
  --bind-address=127.0.0.1 \
  --secure-port=18613 \
  --tls-cert-file=server.crt \
  --tls-private-key-file=server.key \
  --kubeconfig="$KUBECONFIG" \
  --authentication-kubeconfig="$KUBECONFIG" \
  --authorization-kubeconfig="$KUBECONFIG"
