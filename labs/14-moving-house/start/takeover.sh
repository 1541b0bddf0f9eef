# Hands the group over to the server: bash takeover.sh
# One patch of the APIService, so that it happens at one moment. What is missing is for you to
# write.
kubectl patch apiservice v2.moving.firewalld.fedoraproject.org --type=merge --patch-file=/dev/stdin <<EOT
spec:
  caBundle: $(base64 <ca.crt | tr -d '\n')
EOT
