package keyring

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// A State is where a key is in its life.
type State string

const (
	// Created: opens, and does not seal yet.
	Created State = "created"
	// Active: seals and opens. Exactly one key of a ring is active.
	Active State = "active"
	// Retired: opens what it sealed.
	Retired State = "retired"
	// Revoked: does nothing any more; its material is erased.
	Revoked State = "revoked"
)

// A Purpose is what a derived key is for. Keys of different purposes cannot be
// computed from one another.
type Purpose string

const (
	Records      Purpose = "records"       // content of records at rest
	Events       Purpose = "events"        // stored events
	UserIndex    Purpose = "user-index"    // the keyed hash of users; stable
	Routing      Purpose = "routing"       // the routing byte of refs; stable
	RequestState Purpose = "request-state" // what clients carry for the server
	CSRF         Purpose = "csrf"          // tokens against forged requests
)

// An Info is what may be known of a key.
type Info struct {
	ID      string    `json:"id"`
	State   State     `json:"state"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"` // when it came into its state
}

// A Key is a key of a ring at the time it was asked for.
type Key struct {
	info     Info
	material *material // nil if revoked
}

// material is shared by the Keys of one ID, whatever their state.
type material struct {
	secret  Secret
	wrapped string   // as it stands in the file
	ciphers sync.Map // of Purpose to *Cipher; derived once
}

// Info returns what may be known of the key.
func (k *Key) Info() Info { return k.info }

// ID returns the name of the key, which is no secret: 1 to [MaxID] characters
// a-z, 0-9 and '-'.
func (k *Key) ID() string { return k.info.ID }

// Cipher returns the cipher of a purpose. It is derived once.
func (k *Key) Cipher(p Purpose) *Cipher {
	if c, ok := k.material.ciphers.Load(p); ok {
		return c.(*Cipher)
	}
	c, _ := k.material.ciphers.LoadOrStore(p, newCipher(k.Secret(p)))
	return c.(*Cipher)
}

// Secret returns the key of a purpose, for what needs no cipher.
func (k *Key) Secret(p Purpose) Secret { return k.material.secret.derive("key/" + string(p)) }

// String returns ID and state; nothing prints the material.
func (k *Key) String() string { return k.info.ID + " (" + string(k.info.State) + ")" }

// Format implements [fmt.Formatter] for every verb.
func (k *Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue implements [slog.LogValuer].
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MaxID bounds the name of a key, in bytes.
const MaxID = 32

func validID(id string) bool {
	if id == "" || len(id) > MaxID || id[0] == '-' {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
