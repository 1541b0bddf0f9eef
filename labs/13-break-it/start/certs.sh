# Makes a CA, ca.crt with its key, and two certificates that it signs, each with its key:
# server.crt for the server, hook.crt for the webhook. For which names, the files .ext say.
#
#   bash certs.sh
set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=break-it-ca -keyout ca.key -out ca.crt
for name in server hook; do
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout $name.key -out $name.csr
  openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile $name.ext -out $name.crt
done
