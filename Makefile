# What a developer and CI run. "make test" installs what the tests need.

# Packages whose tests run under the race detector: all but those that drive
# other processes, where it sees nothing, store/open, which puts together what
# is tested here by itself, and the embedded cluster, where three servers of
# somebody else's in one process are too slow under it to agree.
RACE = $(shell go list ./... | grep -v -e /e2e -e /internal/testkit -e /bench -e /store/open -e /store/nats/embedded)

# A package is cut off after so long: it hangs then, however slow the machine is.
LIMIT = -timeout 30m

.PHONY: build test check race fuzz bench deps clean

build:
	go build -o bin/coatcheck ./cmd/coatcheck

test: deps
	go run ./internal/testkit/report $(LIMIT) ./...

deps:
	@internal/testkit/install

check:
	@files=$$(git ls-files '*.go' | xargs gofmt -l) && if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...

race: deps
	go run ./internal/testkit/report $(LIMIT) -race $(RACE)

# Every fuzz target, so many inputs (or so long) each: make fuzz FUZZ=10m.
FUZZ = 2000x

fuzz:
	internal/testkit/fuzz $(FUZZ)

# Paired with what a user would take instead; prints ratios.
bench:
	go test -run '^$$' -bench . -benchtime 1x -timeout 30m ./bench/...

clean:
	rm -rf bin e2e/clients/node_modules
