package cluster_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"time"

	"github.com/coatcheck-mcp/coatcheck/cluster"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// Two replicas on one store: one owns a session until it leaves, then the other
// takes it.
func Example() {
	ctx := context.Background()
	store := memory.New(memory.Options{})
	defer store.Close()
	join := func(url string) *cluster.Node {
		n, err := cluster.Join(ctx, store, cluster.Options{Namespace: "default", Advertise: url})
		if err != nil {
			log.Fatal(err)
		}
		return n
	}
	a, b := join("http://10.0.0.1:8080"), join("http://10.0.0.2:8080")
	defer b.Close()

	ref, err := state.NewRef(1, rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	key := state.Key{Namespace: "default", Ref: ref}
	_, err = state.Do(ctx, store, state.CreateOp{
		Record: state.Record{Namespace: key.Namespace, Kind: "session", Ref: ref}, Idle: time.Hour, Lifetime: time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := a.Claim(ctx, key, 0); err != nil {
		log.Fatal(err)
	}

	where := func() {
		r, err := store.Get(ctx, key)
		if err != nil {
			log.Fatal(err)
		}
		p, err := b.Locate(ctx, r.Owner)
		if err != nil {
			log.Fatal(err)
		}
		if p.Where == cluster.Elsewhere {
			fmt.Println("in", p.Member.Advertise)
			return
		}
		fmt.Println(p.Where)
		if p.Where == cluster.Free {
			epoch, err := b.Claim(ctx, key, r.Epoch)
			fmt.Println("claimed in epoch", epoch, err)
		}
	}
	where()
	if err := a.Close(); err != nil {
		log.Fatal(err)
	}
	if _, err := b.Members(ctx); err != nil { // sees it at once, not at its next beat
		log.Fatal(err)
	}
	where()
	where()
	// Output:
	// in http://10.0.0.1:8080
	// free
	// claimed in epoch 2 <nil>
	// here
}
