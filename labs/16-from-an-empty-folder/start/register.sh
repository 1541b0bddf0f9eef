# Tells the cluster of the server that run.sh runs: bash register.sh
# The same as in lab 7, a Service that leads to this machine and an APIService with the CA.
set -e
service='{"type": "ExternalName", "externalName": "localhost"}'
if [ -n "$LAB_HOST" ]; then # the cluster is in containers, and this machine has an address for it
  service='{"ports": [{"name": "https", "port": 16443}]}'
  kubectl apply -f - <<END
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: zones, namespace: lab-16, labels: {kubernetes.io/service-name: zones}}
addressType: IPv4
endpoints: [{addresses: [$LAB_HOST]}]
ports: [{name: https, port: 16443}]
END
fi
kubectl apply -f - <<END
apiVersion: v1
kind: Service
metadata: {name: zones, namespace: lab-16}
spec: $service
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.zones.firewalld.fedoraproject.org}
spec:
  group: zones.firewalld.fedoraproject.org
  version: v1
  groupPriorityMinimum: 1000
  versionPriority: 10
  service: {name: zones, namespace: lab-16, port: 16443}
  caBundle: $(base64 <ca.crt | tr -d '\n')
END
