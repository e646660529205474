package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coatcheck-mcp/coatcheck/store/nats"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// promoteTimeout bounds a promotion, in which servers may have to elect first.
const promoteTimeout = 5 * time.Minute

type promoteCmd struct {
	Store string `env:"COATCHECK_STORE,SESSION_STORE" required:"" placeholder:"URL" help:"The store, nats://… or cluster:…, as the servers have it."`
	Yes   bool   `env:"-" help:"Do it, instead of saying what would be done. What had not been mirrored is lost."`
}

func (c *promoteCmd) Run(a *app) error {
	flags := storeFlags{Store: c.Store}
	url, err := flags.url()
	if err != nil {
		return err
	}
	if url.Scheme() != open.NATS && url.Scheme() != open.Cluster {
		return usagef("--store: %s has no mirrors: give a nats: or cluster: store with replication=leader", url)
	}
	ctx, cancel := context.WithTimeout(a.ctx, promoteTimeout)
	defer cancel()
	fmt.Fprintln(a.stderr, "asking each server, which takes some seconds")
	promotions, err := url.Promote(ctx, !c.Yes)
	todo := false
	for _, p := range promotions {
		todo = todo || p.Lost || len(p.Silent) > 0
		fmt.Fprintln(a.stdout, describe(p, c.Yes))
	}
	if err != nil {
		return err
	}
	if todo && !c.Yes {
		return errors.New("nothing was changed: if the servers that do not answer are lost for good, write --yes, and let none of them start again but with an empty folder")
	}
	return nil
}

// describe says what is, or was, done about a stream.
func describe(p nats.Promotion, done bool) string {
	var parts []string
	switch {
	case p.Lost && p.Mirror == "":
		parts = append(parts, "its server does not answer, and no mirror does: start one of them")
	case p.Lost:
		verb := "would take its place"
		if done {
			verb = "takes its place"
		}
		parts = append(parts, fmt.Sprintf("its server does not answer: %s on %s %s, with %d messages, the last of %s",
			p.Mirror, p.Server, verb, p.Messages, p.Written.UTC().Format(time.RFC3339)))
	default:
		parts = append(parts, "its server answers")
	}
	for _, name := range p.Silent {
		parts = append(parts, fmt.Sprintf("the server of its mirror %s does not answer", name))
	}
	return p.Stream + ": " + strings.Join(parts, "; ")
}
