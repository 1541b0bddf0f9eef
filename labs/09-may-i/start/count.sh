# To be read by a shell, in this directory: . ./count.sh
# "count COMMAND..." runs a command five times, with the numbers 1 to 5 in place of each %,
# and says how many reviews the server of the lab has sent meanwhile, by its own metrics.
counted=$PWD/../../.state/build/09-may-i/counted.kubeconfig
rules=/apis/counted.firewalld.fedoraproject.org/v2/namespaces/lab-09/portrules

sent() {
  kubectl --kubeconfig "$counted" --context admin get --raw /metrics |
    awk -v metric="apiserver_delegated_$1_request_total{" 'index($0, metric) == 1 {sum += $NF} END {print sum + 0}'
}

count() {
  local tokens access n
  tokens=$(sent authn) access=$(sent authz)
  for n in 1 2 3 4 5; do
    "${@//\%/$n}" >/dev/null
  done
  echo "TokenReviews $(($(sent authn) - tokens)), SubjectAccessReviews $(($(sent authz) - access))"
}
