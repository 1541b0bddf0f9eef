# Shows what is in etcd under a rule's key: bash peek.sh NAME
key=/registry/moving.firewalld.fedoraproject.org/portrules/lab-14/$1
curl -s "$(bash etcd.sh)/v3/kv/range" -d '{"key": "'"$(printf %s "$key" | base64 | tr -d '\n')"'"}' |
  sed -n 's/.*"value":"\([^"]*\)".*/\1/p' | base64 -d
