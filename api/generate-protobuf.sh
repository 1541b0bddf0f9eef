#!/bin/bash
# Writes protobuf marshallers for the packages of api that are marked
# +k8s:protobuf-gen=package, with go-to-protobuf, as Kubernetes makes its own:
#
#   generated.pb.go  the marshallers
#   generated.proto  the messages, for clients in other languages
#   types.go         the field numbers, in the fields' tags. A number that is there
#                    is kept; a field without one gets the next after the highest.
#
# "make generate" calls this. go-to-protobuf runs protoc, which is no Go program:
# buf stands in for it.

set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BUF=github.com/bufbuild/buf/cmd/buf@v1.72.0 # the last one that Go 1.26.0 builds
GOIMPORTS=golang.org/x/tools/cmd/goimports@v0.52.0
GO_TO_PROTOBUF=k8s.io/code-generator/cmd/go-to-protobuf

module=$(go list -m)
kubernetes=$(go list -m -f '{{.Version}}' k8s.io/apimachinery)
packages=$(grep -l '^// +k8s:protobuf-gen=package$' api/*/doc.go |
	sed "s|^|$module/|; s|/doc.go$||" | paste -sd , -)

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# What is run from PATH: program NAME PACKAGE [ARGUMENT...]. In an empty directory,
# because go-to-protobuf has protoc search the working directory too.
mkdir "$tmp/bin" "$tmp/empty"
program() {
	printf '#!/bin/bash\ncd "%s" && exec go run %s "$@"\n' "$tmp/empty" "${*:2}" >"$tmp/bin/$1"
	chmod +x "$tmp/bin/$1"
}
program protoc "$BUF" alpha protoc
program protoc-gen-gogo "$GO_TO_PROTOBUF/protoc-gen-gogo@$kubernetes"
program goimports "$GOIMPORTS"

# What is read and written, by import path.
sources() { go mod download -json "$1" | sed -n 's|^[[:space:]]*"Dir": "\(.*\)",$|\1|p'; }
apimachinery=$(sources k8s.io/apimachinery)
gogo=$(sources github.com/gogo/protobuf@v1.3.2)
mkdir -p "$tmp/out/$module" "$tmp/import/k8s.io/apimachinery" "$tmp/import/github.com/gogo/protobuf"
ln -s "$PWD/api" "$tmp/out/$module/api"
ln -s "$apimachinery/pkg" "$tmp/import/k8s.io/apimachinery/pkg"
ln -s "$gogo/gogoproto" "$tmp/import/github.com/gogo/protobuf/gogoproto"

# a package with a "-" is read, not written
PATH=$tmp/bin:$PATH go run "$GO_TO_PROTOBUF@$kubernetes" --go-header-file /dev/null \
	--apimachinery-packages -k8s.io/apimachinery/pkg/apis/meta/v1 --packages "$packages" \
	--proto-import "$tmp/import" --output-dir "$tmp/out"
