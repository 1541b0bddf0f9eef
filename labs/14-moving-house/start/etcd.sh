# Says where the etcd of the kube-apiserver is, which is another port after each "lab down":
# bash etcd.sh
ps -ww -o args= -p "$(cat ../../.state/cluster/kube-apiserver.pid)" | tr ' ' '\n' | sed -n 's/^--etcd-servers=//p'
