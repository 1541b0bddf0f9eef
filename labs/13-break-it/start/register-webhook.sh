# Tells the cluster of the webhook, as webhook.yaml says, with the CA: bash register-webhook.sh
set -e
kubectl patch --local -f webhook.yaml --type=json -o yaml >webhook.log \
  -p '[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "'"$(base64 <ca.crt | tr -d '\n')"'"}]'
kubectl apply -f webhook.log
