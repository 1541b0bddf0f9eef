# PortRule as a CRD and as an aggregated API server, compared.
#
# "make" lists what there is. Only Go, git and make are needed: every other
# program is built from its Go module, at the version pinned here or in a go.mod.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -o errexit -o nounset -o pipefail -c

# ---- settings: make bench QUICK=1 SUITE=verbs CLUSTER=existing OUT=dir

# auto is kind where a container engine answers and the node image can be had
# (KIND_IMAGE names it), else embedded
CLUSTER ?= auto
SUITE ?=
QUICK ?=
SIZE ?=
OUT ?=
RUN ?=
CRD ?=
# more flags for the program, see bin/compare bench --help
ARGS ?=
REGISTRY ?=

# ---- versions

pinned = $(shell sed -n 's|^\t$(1) \(v[0-9.]*\).*|\1|p' compare/controlplane/go.mod)
KUBERNETES := $(call pinned,k8s.io/kubernetes)
ETCD := $(call pinned,go.etcd.io/etcd/server/v3)
CONTROLLER_GEN := go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.21.0
GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# One set of build flags, so that all programs share the build cache. Without cgo
# the programs are static, and no C compiler is needed. All are linked without debugging
# information (-s -w), so that none is larger in memory for having some.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)

# kubectl version and /version are to say what was built
STAMP := $(foreach p,k8s.io/component-base/version k8s.io/client-go/pkg/version,\
	-X $(p).gitVersion=$(KUBERNETES) \
	-X $(p).gitMajor=$(word 1,$(subst ., ,$(KUBERNETES:v%=%))) \
	-X $(p).gitMinor=$(word 2,$(subst ., ,$(KUBERNETES:v%=%))) \
	-X $(p).gitTreeState=archive)

PROGRAMS := ./crd/cmd/... ./aggregated/cmd/... ./compare/cmd/... ./labs/cmd/...
CONTROL_PLANE := bin/etcd bin/kube-apiserver bin/kubectl
# what the suite peers compares the aggregated server with
SAMPLE := bin/sample-apiserver

##@ Use

.PHONY: bench
bench: build $(if $(findstring peers,$(SUITE)),$(SAMPLE)) ## Compare the implementations: QUICK=1, SUITE=verbs,validation,..., SIZE=50000, CLUSTER=auto|embedded|kind|existing, CRD=schema|policies,webhooks,reservation, OUT=dir
	@bin/compare bench --cluster '$(CLUSTER)' $(if $(QUICK),--quick) $(if $(SUITE),--suite '$(SUITE)') $(if $(SIZE),--size '$(SIZE)') $(if $(CRD),--crd '$(CRD)') $(if $(OUT),--out '$(OUT)') $(ARGS)

.PHONY: parity
parity: build ## Put one table of cases to both, and print where they agree: RUN=id,area, CLUSTER=auto|embedded|kind, OUT=dir
	@bin/compare parity --cluster '$(CLUSTER)' $(if $(RUN),--run '$(RUN)') $(if $(OUT),--out '$(OUT)') $(ARGS)

.PHONY: up
up: build ## Start a control plane with both implementations: CLUSTER=auto|embedded|kind, CRD=...
	@bin/compare up --cluster '$(CLUSTER)' $(if $(CRD),--crd '$(CRD)') $(ARGS)

.PHONY: env
env: ## Print the line that makes a shell use it: eval "$(make -s env)"
	@bin/compare env

.PHONY: down
down: ## End it
	@[[ ! -x bin/compare ]] || bin/compare down

.PHONY: images
images: build ## Write the images of the programs to bin/images, as OCI archives, and push them: REGISTRY=host/path
	@bin/compare images $(if $(REGISTRY),--registry '$(REGISTRY)')

##@ Work on it

.PHONY: build
build: $(CONTROL_PLANE) ## Build everything into bin/ (the first time compiles the kube-apiserver: about 5 minutes)
	@go build -buildvcs=auto -ldflags '-s -w' -o bin/ $(PROGRAMS)

.PHONY: test
test: build ## Run the tests, those on a real control plane included
	go test ./...

.PHONY: e2e
e2e: build ## Run the end-to-end tests: CLUSTER=auto|embedded|kind
	go test -count=1 -v -timeout 30m ./compare/e2e -args -cluster '$(CLUSTER)' $(ARGS)

.PHONY: labs-verify
labs-verify: build ## Do the labs as a learner would, and make sure that wrong answers are found: RUN="2 11"
	@bin/lab verify --record labs/.state/verify.json $(RUN)

.PHONY: verify
verify: verify-modules verify-generate verify-format verify-vet verify-lint verify-imports verify-platforms docs-verify ## Check all that can be checked without running it

.PHONY: generate
generate: ## Write what is generated: protobuf and deepcopy functions, the CRD, OpenAPI definitions, webhook configurations
	api/generate-protobuf.sh
	$(CONTROLLER_GEN) object paths=./api/...
	$(CONTROLLER_GEN) crd paths="./api/v1;./api/v2" output:crd:dir=crd/manifests/crd
	go tool openapi-gen --go-header-file /dev/null --report-filename /dev/null \
		--output-model-name-file zz_generated.model_name.go \
		--output-dir aggregated/openapi --output-pkg portrule.example/lab/aggregated/openapi \
		--output-file zz_generated.openapi.go ./api/v1 ./api/v2 ./api/callerreview
	go test ./crd/manifests -run TestWebhookManifest -update

.PHONY: docs
docs: ## Fill the pages in docs/ with the code and the figures that they show
	@go run ./docs/pages

.PHONY: update-format
update-format: ## Format the Go code
	$(GOLANGCI_LINT) fmt

.PHONY: update-modules
update-modules: ## Tidy both go.mod files
	go mod tidy
	cd compare/controlplane && go mod tidy

.PHONY: clean
clean: down ## Remove bin/ and the results of runs, not the caches of Go
	rm -rf bin compare/results

##@ Parts of verify

# verify-X fails if its update would change anything; the work tree is put back.
# The update runs on a copy, so that nothing of the user's is touched.
define unchanged
	@copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT; \
	git ls-files -z --cached --others --exclude-standard | xargs -0 tar -c --ignore-failed-read 2>/dev/null | tar -x -C "$$copy"; \
	cd "$$copy" && git init -q && git add -A && $(MAKE) --no-print-directory $(1) >/dev/null; \
	git -c core.pager=cat diff --stat --exit-code || { echo "run \"make $(1)\" and commit what it changes" >&2; exit 1; }
endef

.PHONY: verify-generate
verify-generate: ## Generated files are what make generate writes
	$(call unchanged,generate)

.PHONY: verify-modules
verify-modules: ## go.mod and go.sum are tidy, and the modules are what go.sum says
	go mod tidy -diff
	cd compare/controlplane && go mod tidy -diff
	go mod verify

.PHONY: verify-format
verify-format: ## The Go code is formatted
	@files=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	[[ -z $$files ]] || { echo "not formatted: $$files; run \"make update-format\"" >&2; exit 1; }

.PHONY: verify-vet
verify-vet: ## go vet finds nothing
	go vet ./...

.PHONY: verify-lint
verify-lint: ## golangci-lint finds nothing
	$(GOLANGCI_LINT) run

.PHONY: verify-imports
verify-imports: ## Imports run one way, and both modules pin the same Kubernetes
	go test -count=1 -run 'TestImportsRunOneWay|TestModulesPinTheSameKubernetes' .

.PHONY: verify-platforms
verify-platforms: ## The programs compile for Linux and macOS, on amd64 and arm64 (a few minutes each, the first time)
	@for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do \
		echo "go build for $$platform"; \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} go build -o /dev/null $(PROGRAMS); \
	done

.PHONY: docs-verify
docs-verify: ## The pages show what the files and the runs say, and their links lead somewhere
	@go run ./docs/pages --verify

##@ Help

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "; print "make TARGET [SETTING=value ...]"} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- the control plane: rebuilt when its module changes

bin/etcd: MAIN := go.etcd.io/etcd/server/v3
bin/etcd: VERSION := $(ETCD)
bin/kube-apiserver bin/kubectl: VERSION := $(KUBERNETES)
bin/kube-apiserver: MAIN := k8s.io/kubernetes/cmd/kube-apiserver
bin/kubectl: MAIN := k8s.io/kubernetes/cmd/kubectl
$(SAMPLE): VERSION := $(call pinned,k8s.io/sample-apiserver)
$(SAMPLE): MAIN := k8s.io/sample-apiserver
$(CONTROL_PLANE) $(SAMPLE): compare/controlplane/go.mod compare/controlplane/go.sum
	@echo "building $@ $(VERSION)"
	@cd compare/controlplane && go build -buildvcs=false -ldflags '-s -w $(STAMP)' -o ../../$@ $(MAIN)
	@touch $@
