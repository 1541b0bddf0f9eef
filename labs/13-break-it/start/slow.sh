# Slows the kube-apiserver's etcd down until it is ended: bash slow.sh
# etcd stops for 0.4 s, runs for 0.1 s, and so on. However this ends, etcd runs after it.
etcd=$(cat ../../.state/cluster/etcd.pid)
trap 'kill -CONT $etcd' EXIT
trap exit INT TERM HUP
while kill -STOP "$etcd"; do
  sleep 0.4
  kill -CONT "$etcd"
  sleep 0.1
done
