# Makes a new server.crt in place of one that has ended: bash renew.sh
# Somebody has written this down for the next time.
bash certs.sh
