package open

import (
	"context"
	"errors"
	"fmt"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
)

// A SealError says that the keys given do not go with what is in a store. The
// caller gave the wrong ones, or those of another store.
type SealError struct {
	Namespace string
	Why       string // what is the matter, and what to do
}

func (e *SealError) Error() string {
	return fmt.Sprintf("records of namespace %s %s", e.Namespace, e.Why)
}

// enough is at how many records is looked. One that does not fit among many
// that do is found when it is read.
const enough = 16

// checkSeals compares the first records with the keys. Without a look, a wrong
// key would show only when clients come, as an outage; and without any, sealed
// records would look empty.
func checkSeals(ctx context.Context, bare Store, opts Options) error {
	q := state.Query{Namespace: opts.Namespace, Max: enough}
	if opts.Ring == nil {
		for r, err := range bare.List(ctx, q) {
			if err != nil {
				return err
			}
			if len(r.Sealed) > 0 {
				return &SealError{opts.Namespace, "are encrypted, and there is no key: give the one that they were encrypted with"}
			}
		}
		return nil
	}
	look := opts.Encryption
	look.OnRefusal = nil // nobody asked for these records
	sealed, err := encrypted.New(bare, opts.Ring, look)
	if err != nil {
		return err
	}
	for _, err := range sealed.List(ctx, q) {
		// What cannot be opened comes last, so the keys fit if anything
		// comes before.
		return misfit(opts.Namespace, err)
	}
	return nil
}

// misfit turns the error of a listing into one about the keys, if it is. A
// record that somebody changed is for who reads it.
func misfit(namespace string, err error) error {
	var refusal *encrypted.Refusal
	switch {
	case !errors.As(err, &refusal):
		return err
	case errors.Is(err, encrypted.ErrNotSealed):
		return &SealError{namespace, "are not encrypted, and there is a key: write another namespace or store, or leave the key out"}
	case errors.Is(err, encrypted.ErrUnknownKey):
		return &SealError{namespace, "are encrypted with another key, named " + refusal.KeyID + ": give that one"}
	}
	return nil
}
