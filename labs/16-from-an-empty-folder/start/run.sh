# Runs the server: bash run.sh
# It makes a CA and a serving certificate first, if there are none yet. The etcd is the one
# of the labs' control plane, and the cluster is asked as the administrator: in a cluster
# a server has an etcd and a ServiceAccount of its own.
set -e
if [ ! -f server.crt ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=zones-ca -keyout ca.key -out ca.crt
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=zones -keyout server.key -out server.csr
  printf 'subjectAltName = DNS:zones.lab-16.svc\nextendedKeyUsage = serverAuth\n' >server.ext
  openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.crt
fi
exec ../../.state/zone-apiserver \
  --etcd-servers="$(sed -n 's/.*"etcd":\["\([^"]*\)".*/\1/p' ../../.state/cluster/cluster.json)" \
  --bind-address="$([ -z "$LAB_HOST" ] && echo 127.0.0.1 || echo 0.0.0.0)" \
  --secure-port=16443 \
  --tls-cert-file=server.crt \
  --tls-private-key-file=server.key \
  --kubeconfig="$KUBECONFIG" \
  --authentication-kubeconfig="$KUBECONFIG" \
  --authorization-kubeconfig="$KUBECONFIG"
