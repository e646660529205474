package keyring

import (
	"context"
	"time"
)

// Generate adds a new key in the state [Created] and returns it.
func (r *Ring) Generate(ctx context.Context) (Info, error) {
	var made Info
	err := r.change(ctx, func(k *keys, _ time.Time) error {
		key, err := r.newKey(Created)
		if err != nil {
			return err
		}
		if _, err := k.find(key.info.ID); err == nil {
			return &KeyError{ID: key.info.ID, Err: ErrState} // 2^-32 a day: try again
		}
		k.list = append(k.list, key)
		made = key.info
		return nil
	})
	return made, err
}

// Activate makes a created or retired key the active one; the one before is
// retired. Activating the active key changes nothing.
func (r *Ring) Activate(ctx context.Context, id string) error {
	return r.change(ctx, func(k *keys, now time.Time) error {
		key, err := k.find(id)
		if err != nil {
			return err
		}
		switch key.info.State {
		case Active:
			return nil
		case Revoked:
			return &KeyError{ID: id, Err: ErrRevokedKey}
		}
		for _, other := range k.list {
			if other.info.State == Active {
				other.become(Retired, now)
			}
		}
		key.become(Active, now)
		return nil
	})
}

// Rotate generates a key and activates it in one step, for a ring that one
// process uses. With replicas, see the package comment.
func (r *Ring) Rotate(ctx context.Context) (Info, error) {
	var made Info
	err := r.change(ctx, func(k *keys, now time.Time) error {
		key, err := r.newKey(Active)
		if err != nil {
			return err
		}
		for _, other := range k.list {
			if other.info.State == Active {
				other.become(Retired, now)
			}
		}
		k.list = append(k.list, key)
		made = key.info
		return nil
	})
	return made, err
}

// Retire retires a created key: one that is never to be active. The active key
// is retired by activating another ([ErrState]).
func (r *Ring) Retire(ctx context.Context, id string) error {
	return r.end(ctx, id, Retired)
}

// Revoke erases a key. What it sealed cannot be opened any more, by nobody, and
// there is no way back. The active key cannot be revoked ([ErrState]): activate
// another first.
func (r *Ring) Revoke(ctx context.Context, id string) error {
	return r.end(ctx, id, Revoked)
}

func (r *Ring) end(ctx context.Context, id string, to State) error {
	return r.change(ctx, func(k *keys, now time.Time) error {
		key, err := k.find(id)
		if err != nil {
			return err
		}
		switch {
		case key.info.State == to:
			return nil
		case key.info.State == Active:
			return &KeyError{ID: id, Err: ErrState}
		case key.info.State == Revoked:
			return &KeyError{ID: id, Err: ErrRevokedKey}
		}
		key.become(to, now)
		return nil
	})
}

func (k *Key) become(s State, now time.Time) {
	k.info.State, k.info.Changed = s, now
	if s == Revoked {
		k.material = nil
	}
}

// change lets fn change a copy of the keys and uses that, after it is stored.
func (r *Ring) change(ctx context.Context, fn func(k *keys, now time.Time) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.fixed {
		return ErrFixed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.opts.Clock().UTC().Truncate(time.Second)
	if r.path != "" {
		return r.changeFile(ctx, func(k *keys) error { return fn(k, now) })
	}
	next := r.now.Load().clone()
	if err := fn(next, now); err != nil {
		return err
	}
	r.use(next)
	return nil
}
