# To be read by a shell that brings an answer into the cluster: what a learner does in the
# steps of the README. The webhook runs afterwards.
cd labs/06-two-versions/work
crd=portrules.versions.firewalld.fedoraproject.org
go build -o ../../.state/conversion .
../../.state/conversion >server.log 2>&1 &
until grep -q serving server.log; do sleep 0.1; done

# store VERSION: applies crd.yaml with that version as the one that is stored, and conversion.yaml
store() {
  awk -v stored="$1" '/^  - name: / {version = $3} /^    storage: / {$0 = "    storage: " (version == stored ? "true" : "false")} {print}' crd.yaml |
    kubectl apply -f -
  kubectl patch -f crd.yaml --type=merge --patch-file conversion.yaml
  kubectl wait --for=condition=Established "crd/$crd"
}

# trust: gives the CRD the CA of the webhook
trust() {
  kubectl patch crd "$crd" --type=merge -p '{"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": "'"$(base64 <certs/ca.crt | tr -d '\n')"'"}}}}}'
}

# create FILE...: creates rules, as soon as they are served. In the first two seconds of a CRD
# this does not wait as "kubectl create" does.
create() {
  local file
  for file in "$@"; do
    until kubectl apply --server-side -f "$file"; do sleep 0.1; done
  done
}

# migrate SCOPE...: writes back what it reads
migrate() {
  kubectl get "portrules.v2.${crd#*.}" "$@" -o yaml | kubectl replace -f -
}
