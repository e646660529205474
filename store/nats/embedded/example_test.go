package embedded_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/coatcheck-mcp/coatcheck/store/nats/embedded"
)

// One of three nodes. The two others are started with the same peers, a name, an
// address and a folder of their own.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	peers := []string{"10.0.0.1:7001", "10.0.0.2:7001", "10.0.0.3:7001"}
	node, err := embedded.Start(ctx, embedded.Options{
		Name: "a", Listen: peers[0], Peers: peers, Dir: "/var/lib/coatcheck", SecretFile: "/etc/coatcheck/cluster-secret",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	members, err := node.Members(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range members {
		fmt.Println(m.Name, m.Connected)
	}
}

func ExampleParseURL() {
	opts, err := embedded.ParseURL("cluster:?name=a&listen=127.0.0.1:7001&peers=127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(opts.Nodes, "nodes; data in", opts.Dir)
	_, err = embedded.ParseURL("cluster:?name=a&listen=127.0.0.1:7001&peers=127.0.0.1:7002")
	fmt.Println(err)
	// Output:
	// 3 nodes; data in coatcheck-data/a
	// peers do not have this node's own address: add 127.0.0.1:7001 to them, on all nodes alike
}
