# Stops etcd, and forgets about it: bash freeze.sh
kill -STOP "$(cat ../../.state/cluster/etcd.pid)"
