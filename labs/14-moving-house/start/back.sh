# Hands the group back to the CRD: bash back.sh
