package session

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// A rotation is a new secret, prepared before it is known whether it will be
// the one that counts.
type rotation struct {
	next ID
	salt []byte // what leads to it from the old id; nil without a grace
}

// saltBytes is the entropy that each new secret gets.
const saltBytes = 32

// planRotation makes the next id. Without a grace it is random. With one it is
// derived from the old secret and a random salt, which the record keeps: so
// every replica can lead whoever presents the old id to the new one, although
// stores know secrets by their hashes alone. Neither the salt nor the old
// secret is of use without the other.
func (m *Manager) planRotation(id ID, grace time.Duration) (rotation, error) {
	if grace <= 0 {
		next, err := m.gen.secretFor(id.Ref())
		return rotation{next: next}, err
	}
	salt := make([]byte, saltBytes)
	if err := m.gen.read(salt); err != nil {
		return rotation{}, err
	}
	next, err := m.derive(id, salt)
	return rotation{next: next, salt: salt}, err
}

// derive returns the id that the salt leads to from another.
func (m *Manager) derive(id ID, salt []byte) (ID, error) {
	if id.IsZero() {
		return ID{}, nil
	}
	info := "coatcheck session id\x00" + id.ref.String()
	raw, err := hkdf.Key(sha256.New, id.open().bytes, salt, info, m.policy.SecretBytes)
	if err != nil {
		return ID{}, fmt.Errorf("derive the next secret: %w", err)
	}
	return newID(id.ref, raw), nil
}

// successor returns the current id of a record that is presented with its
// previous one, or none if the record does not lead there.
func (m *Manager) successor(id ID, r *state.Record) ID {
	v, ok := rotatedOf(r)
	if !ok || len(v.Salt) == 0 || !id.Matches(r.Secret.Previous) {
		return ID{}
	}
	next, err := m.derive(id, v.Salt)
	if err != nil || !next.Matches(r.Secret.Hash) {
		return ID{}
	}
	return next
}
