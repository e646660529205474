package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
)

// keysCmd works on a key ring. No command prints a key.
type keysCmd struct {
	Generate keysGenerateCmd `cmd:"" help:"Make a key ring with one key: a new one, or that of --encryption-key or SESSION_ENCRYPTION_KEY."`
	List     keysListCmd     `cmd:"" help:"List the keys of a key ring and their states."`
	Rotate   keysRotateCmd   `cmd:"" help:"Make a new active key, and seal the records of a store with it, while servers run."`
	Revoke   keysRevokeCmd   `cmd:"" help:"Erase a key that no record uses any more."`
}

type keysGenerateCmd struct {
	KeyRing       string `required:"" placeholder:"FILE" help:"Make this file, which must not exist."`
	EncryptionKey string `placeholder:"FILE" help:"Take over the key in this file instead of making one, to go on with what it has encrypted."`
}

func (c *keysGenerateCmd) Run(a *app) error {
	given := storeFlags{EncryptionKey: c.EncryptionKey}
	ring, err := given.ring(a.ctx)
	if err != nil {
		return err
	}
	if ring == nil {
		if ring, err = keyring.New(keyring.Options{}); err != nil {
			return err
		}
	}
	err = ring.SaveAs(a.ctx, c.KeyRing, keyring.Options{})
	if errors.Is(err, keyring.ErrExists) {
		return usagef("--key-ring: %w: write another name, or use it as it is", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s holds key %s, which is active. Keep a copy: without it, what it encrypts is lost.\n", c.KeyRing, ring.Active().ID())
	return nil
}

type keysListCmd struct {
	KeyRing string `required:"" placeholder:"FILE" help:"The key ring."`
	JSON    bool   `name:"json" help:"Print one JSON object a line."`
}

func (c *keysListCmd) Run(a *app) error {
	ring, err := keyring.Open(a.ctx, c.KeyRing, keyring.Options{})
	if err != nil {
		return usagef("--key-ring: %w", err)
	}
	p := newPrinter(a.stdout, c.JSON)
	for _, k := range ring.Keys() {
		if err := p.line(k, k.ID, string(k.State), k.Created.Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return p.flush()
}
