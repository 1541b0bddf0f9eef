# What one finds when one looks for "namespace stuck in Terminating": bash force.sh NAMESPACE
kubectl get namespace "$1" -o json | sed 's/^ *"kubernetes"$//' |
  kubectl replace --raw "/api/v1/namespaces/$1/finalize" -f -
