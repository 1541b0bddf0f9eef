# To be read by a shell, in this directory: . ./count.sh
# "count COMMAND..." runs a command and says how many conversions the kube-apiserver has
# asked your webhook for meanwhile, by its own metrics.
v1=portrules.v1.versions.firewalld.fedoraproject.org
v2=portrules.v2.versions.firewalld.fedoraproject.org

conversions() {
  kubectl get --raw /metrics |
    awk -v metric='apiserver_crd_conversion_webhook_duration_seconds_count{crd_name="portrules.versions.firewalld.fedoraproject.org"' \
      'index($0, metric) == 1 {sum += $NF} END {print sum + 0}'
}

# A list waits until it is as fresh as etcd: then nothing is left to be converted.
settle() {
  kubectl get "$v1" -A >/dev/null
  kubectl get "$v2" -A >/dev/null
}

count() {
  local before
  settle
  before=$(conversions)
  "$@" >/dev/null
  settle
  echo "conversions: $(($(conversions) - before))"
}
