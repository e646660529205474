package session_test

import (
	"context"
	"fmt"
	"log"

	"github.com/coatcheck-mcp/coatcheck/session"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func Example() {
	ctx := context.Background()
	store := memory.New(memory.Options{})
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{})
	if err != nil {
		log.Fatal(err)
	}
	created, err := manager.Create(ctx, session.CreateRequest{User: "ann"})
	if err != nil {
		log.Fatal(err)
	}
	ticket := created.ID.Reveal() // goes to the client, and nowhere else

	// A later request, perhaps in another process.
	id, err := session.ParseID(ticket)
	if err != nil {
		log.Fatal(err)
	}
	s, err := manager.Access(ctx, id, "ann")
	fmt.Println(s.User, s.State, err)
	_, err = manager.Access(ctx, id, "eve")
	fmt.Println(err)
	// Output:
	// ann active <nil>
	// not found
}

func ExampleManager_Create() {
	store := memory.New(memory.Options{})
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{
		Policy: session.Policy{MaxPerUser: 1}, // single-session mode
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	first, err := manager.Create(ctx, session.CreateRequest{User: "ann"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := manager.Create(ctx, session.CreateRequest{User: "ann"}); err != nil {
		log.Fatal(err)
	}
	_, err = manager.Get(ctx, first.ID)
	fmt.Println(err)
	// Output: not found
}

func ExampleManager_Update() {
	store := memory.New(memory.Options{})
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	created, err := manager.Create(ctx, session.CreateRequest{User: "ann"})
	if err != nil {
		log.Fatal(err)
	}
	for _, item := range []string{"milk", "bread"} {
		// Requests that do this at the same time lose nothing.
		_, err := manager.Update(ctx, created.ID, func(s *session.Session) error {
			var basket []string
			if _, err := s.Get("basket", &basket); err != nil {
				return err
			}
			return s.Set("basket", append(basket, item))
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	s, err := manager.Get(ctx, created.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, version %d\n", s.Data["basket"], s.Version)
	// Output: ["milk","bread"], version 3
}

func ExampleManager_List() {
	store := memory.New(memory.Options{})
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for _, user := range []string{"ann", "ann", "bob"} {
		if _, err := manager.Create(ctx, session.CreateRequest{User: user}); err != nil {
			log.Fatal(err)
		}
	}
	user := "ann"
	for s, err := range manager.List(ctx, session.Query{User: &user}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.User, s.State, s.ID)
	}
	// Output:
	// ann created [none]
	// ann created [none]
}

func ExampleManager_Revoke() {
	store := memory.New(memory.Options{})
	defer store.Close()
	manager, err := session.NewManager(store, session.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	s, err := manager.Create(ctx, session.CreateRequest{User: "ann"})
	if err != nil {
		log.Fatal(err)
	}
	ended, err := manager.Revoke(ctx, s.Ref, "revoked", "the operator")
	if err != nil {
		log.Fatal(err)
	}
	why, err := manager.Explain(ctx, s.Ref)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ended, why.End.Reason, "by", why.End.By)
	// Output: true revoked by the operator
}
