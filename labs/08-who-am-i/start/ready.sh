#!/bin/bash
# ready.sh: waits until the server is ready that you run by serve.sh, with serve.log as its
# output
set -eu
state=$(dirname "$0")/../../.state/build/08-who-am-i
for ((i = 0; i < 200; i++)); do
  if grep -a '^portrule-apiserver: ' serve.log >&2; then
    exit 1 # it has ended
  fi
  if grep -aq 'Serving securely' serve.log &&
    curl --silent --fail --cacert "$state/servers.crt" "$(cat "$state/spare")/readyz"; then
    echo
    exit
  fi
  sleep 0.1
done
echo "ready.sh: it is not ready after 20 s; see what it says in serve.log" >&2
exit 1
