// Package accounts keeps the users of the examples and their passwords, in
// memory: what an application has a user database for.
package accounts

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
)

const (
	// Iterations is the cost of PBKDF2-HMAC-SHA256 that OWASP asks for.
	Iterations = 600_000
	// MaxPassword bounds what is hashed, in bytes.
	MaxPassword = 1024
	// atOnce is how many passwords are hashed at the same time, so that a
	// flood of sign-ins leaves the processor to others.
	atOnce = 2
)

// A digest is what is kept of a password.
type digest struct{ salt, key []byte }

// Accounts are users with passwords. They are not changed once made, and safe
// for concurrent use.
type Accounts struct {
	iterations int
	users      map[string]digest
	nobody     digest // for users that there are not: they take as long
	turns      chan struct{}
}

// New makes accounts of users and their passwords. Fewer than [Iterations] are
// for tests.
func New(passwords map[string]string, iterations int) (*Accounts, error) {
	a := &Accounts{iterations: iterations, users: map[string]digest{}, turns: make(chan struct{}, atOnce)}
	for user, password := range passwords {
		if user == "" || password == "" || len(password) > MaxPassword {
			return nil, errors.New("accounts: a user or password is empty or too long")
		}
		d, err := a.digest(password)
		if err != nil {
			return nil, err
		}
		a.users[user] = d
	}
	var err error
	a.nobody, err = a.digest(rand.Text())
	return a, err
}

func (a *Accounts) digest(password string) (digest, error) {
	salt := make([]byte, sha256.Size)
	if _, err := rand.Read(salt); err != nil {
		return digest{}, fmt.Errorf("read random bytes: %w", err)
	}
	key, err := pbkdf2.Key(sha256.New, password, salt, a.iterations, sha256.Size)
	return digest{salt: salt, key: key}, err
}

// Verify reports whether it is the user's password. Whether there is such a
// user does not show in the time that it takes.
func (a *Accounts) Verify(ctx context.Context, user, password string) (bool, error) {
	if len(password) > MaxPassword {
		return false, nil
	}
	select {
	case a.turns <- struct{}{}:
		defer func() { <-a.turns }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	want, known := a.users[user]
	if !known {
		want = a.nobody
	}
	key, err := pbkdf2.Key(sha256.New, password, want.salt, a.iterations, sha256.Size)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, want.key) == 1 && known, nil
}
