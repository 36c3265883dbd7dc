# lintel: make test is all a contributor needs; the other targets say what they want.
GO        ?= go
BIN       ?= bin
ARCH      ?= $(shell $(GO) env GOARCH)
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE     ?= lintel.local/lintel:dev
LDFLAGS   := -s -w -X main.version=$(VERSION)
FUZZTIME  ?= 10s
TOOLS     ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lintel-tools/bin

# The packages whose tests know -update.
GENERATED := ./cmd/lintel ./internal/diag ./internal/expr ./internal/observe/metrics ./internal/lab \
	./internal/translate ./internal/translate/annotation ./internal/translate/global

.PHONY: build test race fmt vet lint fuzz generate check-generated chart-lint image e2e bench clean

build: ## the binary, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/lintel ./cmd/lintel

test: ## unit, golden, black-box and parity tests; no cluster, no network
	$(GO) test ./...

race: ## the same under the race detector (needs a C compiler)
	$(GO) test -race ./...

fmt:
	gofmt -l -w cmd internal tools test

vet:
	$(GO) vet ./...

lint: ## golangci-lint of the version .ci/tools pins
	$(TOOLS)/golangci-lint run --build-tags e2e ./...

fuzz: ## every fuzz target for FUZZTIME
	./.ci/fuzz $(FUZZTIME)

generate: ## reference pages and goldens that are made from declarations
	$(GO) test $(GENERATED) -run 'Current|Golden' -update

check-generated: ## fails when generated files are not what the code says
	$(GO) test $(GENERATED) -run 'Current|Golden' -count=1

chart-lint: ## the Helm chart, with the default and every example values file
	./.ci/chart $(TOOLS)/helm

image: ## an OCI image for ARCH as a tar file, made without a container daemon
	CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/linux-$(ARCH)/lintel ./cmd/lintel
	$(GO) run ./tools/ociimage -o $(BIN)/lintel.tar -name $(IMAGE) -arch $(ARCH) -version $(VERSION) $(BIN)/linux-$(ARCH)/lintel

e2e: ## the end-to-end suite on the cluster of KUBECONFIG; the image must be on its nodes
	./.ci/e2e $(TOOLS)/helm $(IMAGE)

bench: ## start, changes and memory at 1k, 10k, 50k Ingresses (LINTEL_SCALE names others); cost of a request
	$(GO) test ./internal/app -run '^$$' -bench FirstTable -benchtime 1x -timeout 30m
	$(GO) test ./internal/app -run '^$$' -bench 'OneChange|Live' -benchtime 30x -timeout 30m
	$(GO) test ./internal/app -run '^$$' -bench 'Lookup|Exchange|Sockets'

clean:
	rm -rf $(BIN)
