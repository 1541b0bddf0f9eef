# Makes a CA, ca.crt with its key, and a certificate for the Service that it signs, server.crt
# with its key: bash certs.sh
set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=moving-house-ca -keyout ca.key -out ca.crt
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=moving-house -keyout server.key -out server.csr
printf 'subjectAltName = DNS:moving-house.lab-14.svc\nextendedKeyUsage = serverAuth\n' >server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.crt
