package telemetry_test

import (
	"context"
	"fmt"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
	"github.com/coatcheck-mcp/coatcheck/telemetry"
)

func Example() {
	registry := prometheus.NewRegistry()
	metrics, err := telemetry.NewMetrics(registry)
	if err != nil {
		log.Fatal(err)
	}
	store := memory.New(memory.Options{})
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{Observe: metrics.Observe})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := manager.Create(context.Background(), session.CreateRequest{User: "ann"}); err != nil {
		log.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		fmt.Println(f.GetName())
	}
	// Output:
	// session_size_bytes
	// sessions_created_total
}
