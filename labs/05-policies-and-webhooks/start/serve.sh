# Builds your webhook and runs it: bash serve.sh, with flags of main.go if you like.
# "lab start 5" has made its certificate, and a kubeconfig of a service account that may list
# PortRules and nothing else.
cd "$(dirname "$0")"
state=../../.state/build/05-policies-and-webhooks
go build -o $state/webhook . || exit
exec $state/webhook \
  -address "${LAB_HOST:-127.0.0.1}:18445" \
  -tls-cert $state/tls.crt \
  -tls-key $state/tls.key \
  -kubeconfig $state/webhook.kubeconfig \
  "$@"
