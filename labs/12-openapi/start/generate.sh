# Makes zz_generated.openapi.go and zz_generated.model_name.go from doc.go and types.go.
set -e
cd "$(dirname "$0")"
rm -f zz_generated.*.go

# The report lists what breaks the rules for APIs of Kubernetes.
GOGC=400 go tool openapi-gen --go-header-file /dev/null --report-filename violations.txt \
  --output-model-name-file zz_generated.model_name.go \
  --output-dir . --output-pkg portrule.example/lab/labs/12-openapi/work \
  --output-file zz_generated.openapi.go .

# openapi-gen calls the package as the directory; this one is a program.
for file in zz_generated.*.go; do
  sed 's/^package work$/package main/' $file >renamed && mv renamed $file
done
