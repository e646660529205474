package keyring

import (
	"errors"
	"fmt"
)

// What can go wrong. Test with [errors.Is]. No error contains key material.
var (
	// ErrUnknownKey: the ring has no key of that name. It may have been made
	// a moment ago elsewhere: read the file again.
	ErrUnknownKey = errors.New("unknown key")
	// ErrRevokedKey: the key was revoked, and what it sealed is lost.
	ErrRevokedKey = errors.New("revoked key")
	// ErrOpen: not sealed with this key and additional data, or changed
	// since.
	ErrOpen = errors.New("message cannot be authenticated")
	// ErrState: the key is in a state from which that change cannot be made.
	ErrState = errors.New("not possible in the state of the key")
	// ErrFixed: a ring made of one key cannot be changed: save it to a file
	// first.
	ErrFixed = errors.New("a key ring made of one key cannot be changed: save it to a key file and use that")
	// ErrExposed: others than the owner may read or write the file.
	ErrExposed = errors.New("key file is open to others: chmod 600 it, and rotate the keys if others may have read it")
	// ErrExists: there is a file already.
	ErrExists = errors.New("key file exists already")
	// ErrMalformedKey: not 32 bytes in base64.
	ErrMalformedKey = errors.New("malformed key: give 32 random bytes in base64, as `openssl rand -base64 32` prints them")
	// ErrMalformedRing: the file is no key ring that this release reads.
	ErrMalformedRing = errors.New("malformed key ring")
	// ErrOtherRing: the file has become another ring, with another root.
	ErrOtherRing = errors.New("another key ring")
	// ErrMaster: the file needs another master key than was given.
	ErrMaster = errors.New("wrong master key")
)

// A KeyError is an error about one key.
type KeyError struct {
	ID  string
	Err error // one of the above
}

func (e *KeyError) Error() string { return fmt.Sprintf("key %s: %v", e.ID, e.Err) }

// Unwrap returns Err.
func (e *KeyError) Unwrap() error { return e.Err }
