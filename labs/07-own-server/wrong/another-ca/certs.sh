# Makes a CA, ca.crt with its key, and a certificate that it signs, server.crt with its
# key: bash certs.sh
# For which names that certificate is, server.ext says.
# And then the CA once more.
set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=own-apiserver-ca -keyout ca.key -out ca.crt
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=own-apiserver -keyout server.key -out server.csr
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.crt
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=own-apiserver-ca -keyout ca.key -out ca.crt
