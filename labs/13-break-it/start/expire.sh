# Replaces server.crt by one whose time is over, with the same key and by the same CA, as if you
# had waited long enough: bash expire.sh
set -e
mkdir -p issued
: >issued/index.txt
[ -f issued/serial ] || echo 1000 >issued/serial
cat >issued/ca.cnf <<'EOT'
[ca]
default_ca = break_it
[break_it]
database = issued/index.txt
serial = issued/serial
new_certs_dir = issued
certificate = ca.crt
private_key = ca.key
default_md = sha256
policy = anybody
[anybody]
commonName = supplied
EOT
openssl ca -config issued/ca.cnf -batch -notext -in server.csr -extfile server.ext -out server.new \
  -startdate 20220622000000Z -enddate 20230622000000Z 2>issued/ca.log || { cat issued/ca.log; exit 1; }
mv server.new server.crt
openssl x509 -in server.crt -noout -enddate
