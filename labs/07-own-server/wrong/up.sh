# Brings an answer into the cluster, as a learner would who does every step but the last,
# the CA. lab.yaml has it read before the answer is checked.
cd labs/07-own-server/work
bash certs.sh 2>/dev/null
etcd --data-dir ../../.state/own-etcd --listen-peer-urls http://127.0.0.1:0 \
  --listen-client-urls http://127.0.0.1:12379 \
  --advertise-client-urls http://127.0.0.1:12379 >etcd.log 2>&1 &
bash run.sh >server.log 2>&1 &
until grep -q 'Serving securely' server.log || ! kill -0 $!; do sleep 0.1; done
kubectl apply -f service.yaml
kubectl apply -f apiservice.yaml || true # one of them is refused
kubectl wait --for=jsonpath='{.status.conditions[0].reason}' -f apiservice.yaml || true
