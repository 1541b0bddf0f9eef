#!/bin/bash
# Makes three certificates, each with its key, in this directory:
#
#   alice.crt, bob.crt  for users, to show who they are
#   proxy.crt           for a front proxy, which says in headers who its users are
set -euo pipefail
cd "$(dirname "$0")"
authorities=../../.state/build/08-who-am-i

# sign FILE CA NAME [OPTIONS OF openssl ca]: makes FILE.key and, for NAME, FILE.crt, which
# is signed by one of the CAs, client-ca or front-proxy-ca
sign() {
  local file=$1 ca=$2 name=$3
  shift 3
  export CA=$authorities/$ca
  if ! {
    openssl req -config ca.cnf -new -newkey rsa:2048 -nodes -subj "/CN=$name" \
      -keyout "$file.key" -out "$file.csr" &&
      openssl ca -config ca.cnf -batch -notext -in "$file.csr" -out "$file.crt" "$@"
  } >sign.log 2>&1; then
    sed '/^[-.+*]*$/d' sign.log >&2 # but for the progress of req
    return 1
  fi
  openssl x509 -in "$file.crt" -noout -nameopt RFC2253 -subject -issuer -enddate
}

sign alice client-ca alice -days 365
sign bob client-ca bob -days 365
sign proxy front-proxy-ca firewalld.default.svc -days 365
