# Runs a server as the service account lab-09/server: bash serve.sh
# "lab start 9" has left there what it needs apart from rights.
cd "$(dirname "$0")/../../.state/build/09-may-i"
exec portrule-apiserver \
  --group=repaired.firewalld.fedoraproject.org \
  --etcd-servers="$(cat etcd)" \
  --bind-address=127.0.0.1 \
  --secure-port="$(cat port)" \
  --tls-cert-file=tls.crt \
  --tls-private-key-file=tls.key \
  --kubeconfig=server.kubeconfig \
  --authentication-kubeconfig=server.kubeconfig \
  --authorization-kubeconfig=server.kubeconfig
