# Tells the cluster of the server: bash register-server.sh
kubectl apply -f - <<EOT
apiVersion: v1
kind: Service
metadata: {name: break-it, namespace: lab-13}
spec:
  type: ExternalName
  externalName: localhost
  ports:
  - {name: https, port: 18613}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v2.broken.firewalld.fedoraproject.org}
spec:
  group: broken.firewalld.fedoraproject.org
  version: v2
  groupPriorityMinimum: 1000
  versionPriority: 10
  service: {namespace: lab-13, name: break-it, port: 18613}
  caBundle: $(base64 <ca.crt | tr -d '\n')
EOT
