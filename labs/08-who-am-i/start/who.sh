#!/bin/bash
# who.sh SERVER [OPTIONS OF curl]: asks an API server who it takes the caller for.
# SERVER is one of
#
#   server  the server of this lab, directly
#   kube    the kube-apiserver, which hands the request on to the server
#   spare   the one that you run by serve.sh, directly
set -eu
state=$(dirname "$0")/../../.state/build/08-who-am-i
group=who.firewalld.fedoraproject.org
case ${1-} in
server | kube | spare) ;;
*)
  echo "who.sh: whom? server, kube or spare" >&2
  exit 2
  ;;
esac
if [ ! -e "$state/$1" ]; then
  echo "who.sh: it does not run: lab start 8" >&2
  exit 1
fi
url=$(cat "$state/$1")
shift
# by HTTP/1.1: with HTTP/2 the server ends the connection of a caller whom it does not know
# right away, and curl may lose the answer
exec curl --http1.1 --silent --show-error --cacert "$state/servers.crt" \
  -H 'Accept: application/yaml' -H 'Content-Type: application/yaml' \
  --data-binary "{apiVersion: $group/v2, kind: CallerReview}" \
  "$@" "${url%/}/apis/$group/v2/callerreviews"
