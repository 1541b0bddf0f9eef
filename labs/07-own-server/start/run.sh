# Runs the server: bash run.sh
# At first without a cluster. Behind the aggregator --standalone and --cert-dir give way to
# five other flags.
exec portrule-apiserver \
  --group=own.firewalld.fedoraproject.org \
  --etcd-servers=http://127.0.0.1:12379 \
  --bind-address=127.0.0.1 \
  --secure-port=18443 \
  --standalone \
  --cert-dir=standalone
