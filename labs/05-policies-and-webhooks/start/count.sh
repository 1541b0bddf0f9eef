# To be read by a shell: . ./count.sh
# "count COMMAND..." runs a command, and says by the metrics of the kube-apiserver how often it
# has called the webhook meanwhile, and how many lists of PortRules it was asked for. "waited
# COMMAND..." says how long it has waited for each call.
counted() {
  kubectl get --raw /metrics | awk -v metric="$1" -v one="$2" -v other="$3" '
    index($0, metric "{") == 1 && index($0, one) && index($0, other) {sum += $NF} END {print sum + 0}'
}

calls() {
  counted apiserver_admission_webhook_request_total 'name="endpoints.guarded.firewalld.fedoraproject.org"'
}

lists() {
  counted apiserver_request_total 'group="guarded.firewalld.fedoraproject.org"' 'verb="LIST"'
}

count() {
  local calls lists
  calls=$(calls) lists=$(lists)
  "$@" || true
  echo "calls $(($(calls) - calls)), lists $(($(lists) - lists))"
}

waits() {
  counted apiserver_admission_webhook_admission_duration_seconds_sum 'name="endpoints.guarded.firewalld.fedoraproject.org"'
}

now() {
  date +%s.%N
}

waited() {
  local calls waits begin
  calls=$(calls) waits=$(waits) begin=$(now)
  "$@" >/dev/null
  awk -v begin="$begin" -v end="$(now)" -v calls=$(($(calls) - calls)) -v before="$waits" -v after="$(waits)" 'BEGIN {
    printf "%d calls", calls
    if (calls) printf ", %.1f ms each", 1000 * (after - before) / calls
    printf "; the command takes %.2f s\n", end - begin
  }'
}
