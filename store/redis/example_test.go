package redis_test

import (
	"context"
	"fmt"
	"log"

	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

func ExampleOpenURL() {
	ctx := context.Background()
	s, err := redis.OpenURL(ctx, "redis://sentinel-1?addr=sentinel-2&addr=sentinel-3&master=sessions&prefix=shop:&replicas=2")
	if err != nil {
		log.Print(err) // names the servers, not the password
		return
	}
	defer s.Close()
	fmt.Println(s.Guarantees().Durability)
}

func ExampleParseURL() {
	o, err := redis.ParseURL("redis://cache.example/2?pool_max=8&timeout=500ms")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(o.Addresses, o.Database, o.Pool.Max, o.Timeout)
	// Output: [cache.example:6379] 2 8 500ms
}
