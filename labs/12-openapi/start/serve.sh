# Runs the server of the lab, with the definitions that the program in this directory writes.
# In another server GetOpenAPIDefinitions is compiled in; so you wait for no linker.
set -e
cd "$(dirname "$0")"
go run . >definitions.json
exec ../../.state/build/12-openapi/openapi-server --definitions definitions.json
