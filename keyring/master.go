package keyring

import "context"

// A Master holds the key that wraps the keys of a ring, without giving it away:
// a key management service or a hardware module. It is asked when a ring is
// opened or changed, not when data is sealed.
//
// Wrap encrypts and authenticates plaintext together with additional, which
// says what the plaintext is; Unwrap is the reverse and fails if either has
// changed. Name is written into the file, so that a ring that is opened with
// another master key fails with words. The methods must be safe for concurrent
// use, and must not keep plaintext.
type Master interface {
	Name() string
	Wrap(ctx context.Context, plaintext, additional []byte) ([]byte, error)
	Unwrap(ctx context.Context, wrapped, additional []byte) ([]byte, error)
}

// NewMaster returns a Master that keeps its key in this process: for a key from
// an environment variable or a mounted secret, so that the key file alone is
// worth nothing. The name is no secret.
func NewMaster(name string, key Secret) Master {
	return &localMaster{name: name, cipher: newCipher(key.derive("master"))}
}

type localMaster struct {
	name   string
	cipher *Cipher
}

func (m *localMaster) Name() string { return m.name }

func (m *localMaster) Wrap(_ context.Context, plaintext, additional []byte) ([]byte, error) {
	return m.cipher.Seal(nil, plaintext, additional), nil
}

func (m *localMaster) Unwrap(_ context.Context, wrapped, additional []byte) ([]byte, error) {
	return m.cipher.Open(nil, wrapped, additional)
}
