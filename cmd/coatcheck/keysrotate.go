package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/open"
)

// keysRotateCmd makes a new active key and seals with it what others sealed.
// Each step can be interrupted and is taken up by --resume: where it stands is
// in the ring and in the records, and nowhere else.
type keysRotateCmd struct {
	storeFlags `embed:""`

	Prepare bool `env:"-" help:"Only make the new key, which is not active yet: where servers have copies of the ring, give it to them and rotate then."`
	Resume  bool `env:"-" help:"Go on with a rotation that was interrupted, instead of making another key."`
	Revoke  bool `env:"-" help:"At the end revoke the retired keys. What they sealed in other namespaces or stores is lost."`
	Settle  span `default:"5s" help:"How long servers have to read the ring before a new key is used, and before old records are sealed anew. They read it every 2s."`
	Pause   wait `default:"0s" help:"Wait so long after each step of 64 records, to leave the store to others."`
}

func (c *keysRotateCmd) Run(a *app) error {
	if c.KeyRing == "" {
		return usagef("--key-ring: write the file of the ring that is to be rotated; \"coatcheck keys generate\" makes one")
	}
	p, err := c.outside(a.ctx)
	if err != nil {
		return err
	}
	r := &rotation{cmd: c, ring: p.ring, place: p, note: a.stderr}
	if c.Prepare {
		return r.prepare(a)
	}
	store, err := r.open(a.ctx)
	if err != nil {
		return err
	}
	if store != nil {
		defer store.Close()
	}
	if err := r.run(a.ctx, store); err != nil {
		if a.ctx.Err() != nil {
			return fmt.Errorf("interrupted after %d records: write the same again with --resume", r.rewritten)
		}
		return err
	}
	fmt.Fprintf(a.stdout, "key %s is active; %d records were sealed anew\n", p.ring.Active().ID(), r.rewritten)
	return nil
}

// rotation is one run of the command.
type rotation struct {
	cmd   *keysRotateCmd
	ring  *keyring.Ring
	place place
	note  io.Writer

	rewritten int
	said      time.Time // when progress was reported last
}

func (r *rotation) say(format string, args ...any) { fmt.Fprintf(r.note, format+"\n", args...) }

// prepare makes a key that is not active, unless there is one.
func (r *rotation) prepare(a *app) error {
	key, err := r.next(a.ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "key %s is created and not active yet. Give the ring to every server, then rotate.\n", key.ID)
	return nil
}

// next returns the key that is to be active, and makes it if there is none.
func (r *rotation) next(ctx context.Context) (keyring.Info, error) {
	if key, ok := created(r.ring); ok {
		return key, nil
	}
	return r.ring.Generate(ctx)
}

// created returns the newest key that was made and is not active yet.
func created(ring *keyring.Ring) (key keyring.Info, ok bool) {
	for _, k := range ring.Keys() {
		if k.State == keyring.Created {
			key, ok = k, true
		}
	}
	return key, ok
}

// open opens the store, or returns nil where the one that nobody named is not
// there: then the ring alone is rotated.
func (r *rotation) open(ctx context.Context) (*encrypted.Store, error) {
	if r.cmd.Store == defaultStore {
		if _, err := os.Stat(r.place.url.Path()); errors.Is(err, os.ErrNotExist) {
			r.say("there is no store at %s: only the ring is rotated; write --store to seal records anew", r.place.url)
			return nil, nil
		}
	}
	s, err := r.place.openExisting(ctx)
	if err != nil {
		return nil, err
	}
	return s.(*encrypted.Store), nil
}

func (r *rotation) run(ctx context.Context, store *encrypted.Store) error {
	if err := r.activate(ctx); err != nil {
		return err
	}
	if store == nil {
		return r.withoutStore()
	}
	if err := r.settle(ctx, r.ring.Active().Info().Changed, "until every server uses the new key"); err != nil {
		return err
	}
	if err := r.rewrite(ctx, store); err != nil {
		return err
	}
	return r.retired(ctx)
}

func (r *rotation) withoutStore() error {
	if r.cmd.Revoke {
		return usagef("--revoke: keys are revoked when no record uses them: write --store")
	}
	return nil
}

// activate makes the next key active. With --resume one that is active already
// is left so.
func (r *rotation) activate(ctx context.Context) error {
	if _, pending := created(r.ring); r.cmd.Resume && !pending {
		return nil
	}
	key, err := r.next(ctx)
	if err != nil {
		return err
	}
	if err := r.settle(ctx, key.Changed, "until every server knows the new key"); err != nil {
		return err
	}
	if err := r.ring.Activate(ctx, key.ID); err != nil {
		return err
	}
	r.say("key %s is active", key.ID)
	return nil
}

// settle waits until --settle has passed since the moment given, which is known
// to the second.
func (r *rotation) settle(ctx context.Context, since time.Time, why string) error {
	settle := time.Duration(r.cmd.Settle)
	left := min(settle, settle-time.Since(since)+time.Second)
	if left <= 0 {
		return nil
	}
	r.say("waiting %v %s", left.Round(time.Second), why)
	return sleep(ctx, left)
}

// sleep waits, or returns the error of the context that ended.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// rewrite seals with the active key what another sealed, until there is nothing
// left: a server that was slow to read the ring may have written meanwhile.
func (r *rotation) rewrite(ctx context.Context, store *encrypted.Store) error {
	for {
		pass := 0
		for _, kind := range append(systemKinds(), "") {
			p, err := store.Reencrypt(ctx, encrypted.ReencryptOptions{
				Namespace: r.cmd.Namespace, Kind: kind, Pause: time.Duration(r.cmd.Pause), OnProgress: r.progress,
			})
			pass += p.Rewritten
			r.rewritten += p.Rewritten
			if err != nil {
				return err
			}
			if p.Refused > 0 {
				return fmt.Errorf("%d records could not be opened with any key of the ring, the others were sealed anew: leave their keys in the ring, and ask \"coatcheck doctor\"", p.Refused)
			}
		}
		if pass == 0 {
			return nil
		}
	}
}

// progressEvery is how often progress is reported.
const progressEvery = time.Second

func (r *rotation) progress(p encrypted.Progress) {
	if now := time.Now(); now.Sub(r.said) >= progressEvery {
		r.said = now
		r.say("looked at %d records, sealed %d anew", p.Seen, r.rewritten+p.Rewritten)
	}
}

// retired revokes the keys that nothing uses any more, or says how to.
func (r *rotation) retired(ctx context.Context) error {
	for _, k := range r.ring.Keys() {
		if k.State != keyring.Retired {
			continue
		}
		if !r.cmd.Revoke {
			r.say("no record of namespace %s uses key %s any more; when no other does, end it: coatcheck keys revoke %s", r.cmd.Namespace, k.ID, k.ID)
			continue
		}
		if err := r.ring.Revoke(ctx, k.ID); err != nil {
			return err
		}
		r.say("key %s is revoked", k.ID)
	}
	return nil
}

// keysRevokeCmd erases a key, if no record uses it.
type keysRevokeCmd struct {
	storeFlags `embed:""`

	Key string `arg:"" help:"The key, as \"keys list\" names it."`
}

func (c *keysRevokeCmd) Run(a *app) error {
	if c.KeyRing == "" {
		return usagef("--key-ring: write the file of the ring that has the key")
	}
	p, err := c.outside(a.ctx)
	if err != nil {
		return err
	}
	if _, err := p.ring.Find(c.Key); err != nil && !errors.Is(err, keyring.ErrRevokedKey) {
		return usagef("%w: \"coatcheck keys list\" shows the keys of the ring", err)
	}
	s, err := p.openExisting(a.ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	users, err := countUses(a.ctx, s.(*encrypted.Store).Unwrap(), c.Namespace, c.Key)
	if err != nil {
		return err
	}
	if users > 0 {
		return fmt.Errorf("%d records of namespace %s are sealed with key %s and would be lost: run \"coatcheck keys rotate --resume\" first", users, c.Namespace, c.Key)
	}
	if err := p.ring.Revoke(a.ctx, c.Key); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "key %s is revoked\n", c.Key)
	return nil
}

// countUses counts the records that a key has sealed.
func countUses(ctx context.Context, inner state.Store, namespace, key string) (n int, err error) {
	for _, kind := range append(systemKinds(), "") {
		for r, err := range inner.List(ctx, state.Query{Namespace: namespace, Kind: kind}) {
			if err != nil {
				return n, err
			}
			if id, sealed := encrypted.KeyID(&r); sealed && id == key {
				n++
			}
		}
	}
	return n, nil
}

// systemKinds are the kinds of records that the system keeps for itself and
// that live longer than a rotation.
func systemKinds() []string { return []string{"_node"} }

// defaultStore is where records are if nobody says otherwise.
const defaultStore = "sqlite:" + open.DefaultPath
