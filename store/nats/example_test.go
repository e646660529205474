package nats_test

import (
	"context"
	"fmt"
	"log"

	"github.com/coatcheck-mcp/coatcheck/store/nats"
)

func ExampleOpenURL() {
	ctx := context.Background()
	s, err := nats.OpenURL(ctx, "nats://shop:secret@nats-1,nats-2,nats-3?name=shop&replicas=3")
	if err != nil {
		log.Print(err) // names the servers, not the password
		return
	}
	defer s.Close()
	fmt.Println(s.Guarantees().Durability)
}

func ExampleParseURL() {
	t, err := nats.ParseURL("nats://nats-1,nats-2:4223?name=shop&timeout=2s")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(t.Servers, t.Options.Name, t.Options.Timeout)
	// Output: [nats-1:4222 nats-2:4223] shop 2s
}
