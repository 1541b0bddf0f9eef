# Makes the aggregator look at the server now. It does so by itself every 30 s, and whenever
# the APIService changes. Then waits for what it finds, and until discovery says the same:
#
#   bash look.sh True|False
name=v2.broken.firewalld.fedoraproject.org
kubectl annotate apiservice $name looked-at="$(date +%s.%N)" --overwrite >/dev/null
kubectl wait --for=condition=Available="$1" apiservice/$name --timeout=40s || exit 1
for _ in {1..50}; do
  known=False
  kubectl api-resources --api-group="${name#v2.}" --no-headers | grep -q . && known=True
  [ $known = "$1" ] && exit
  sleep 0.1
done
echo "discovery does not know it yet: kubectl api-resources" >&2
exit 1
