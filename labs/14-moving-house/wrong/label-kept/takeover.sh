# Hands the group over to the server: bash takeover.sh
kubectl patch apiservice v2.moving.firewalld.fedoraproject.org --type=merge --patch-file=/dev/stdin <<EOT
spec:
  caBundle: $(base64 <ca.crt | tr -d '\n')
  service: {namespace: lab-14, name: moving-house, port: 18614}
EOT
