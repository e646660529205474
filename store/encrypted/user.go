package encrypted

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"

	"github.com/coatcheck-mcp/coatcheck/keyring"
	"github.com/coatcheck-mcp/coatcheck/state"
)

// A token stands in the inner record in place of the user. It is one of
//
//	nothing                   for no user
//	tag (16), ciphertext      for users up to MaxNamedUser: a multiple of 32
//	                          bytes, of the user, 0x80 and zeros
//	tag (32)                  for longer ones
//
// where the tag is a keyed hash of namespace and user and, as a synthetic IV,
// the first counter of AES-256-CTR (the construction of RFC 5297 with HMAC in
// place of S2V). It is deterministic, which is its purpose.
const (
	shortTag  = aes.BlockSize
	longTag   = sha256.Size
	tokenStep = 32

	// MaxNamedUser is the length up to which a token has the user, in bytes.
	MaxNamedUser = (state.MaxUserBytes-shortTag)/tokenStep*tokenStep - 1
)

// userKeys make and read tokens.
type userKeys struct {
	tag   []byte
	block cipher.Block
}

func newUserKeys(secret keyring.Secret) userKeys {
	root := secret.Bytes()
	block, err := aes.NewCipher(mac(root, "encrypt"))
	if err != nil {
		panic("encrypted: " + err.Error()) // only for keys of another length
	}
	return userKeys{tag: mac(root, "tag"), block: block}
}

func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// hash returns the keyed hash of a user. Namespaces have no U+0000.
func (k *userKeys) hash(namespace, user string) []byte {
	return mac(k.tag, namespace, "\x00", user)
}

// token returns what stands in place of a user.
func (k *userKeys) token(namespace, user string) string {
	if user == "" {
		return ""
	}
	tag := k.hash(namespace, user)
	if len(user) > MaxNamedUser {
		return string(tag)
	}
	padded := (len(user)/tokenStep + 1) * tokenStep
	t := make([]byte, shortTag+padded)
	copy(t, tag[:shortTag])
	body := t[shortTag:]
	copy(body, user)
	body[len(user)] = 0x80
	cipher.NewCTR(k.block, t[:shortTag]).XORKeyStream(body, body)
	return string(t)
}

// user returns the user of a token, and false if the token has none or is not
// one of ours.
func (k *userKeys) user(namespace, token string) (string, bool) {
	if token == "" {
		return "", true
	}
	if len(token) < shortTag+tokenStep || (len(token)-shortTag)%tokenStep != 0 {
		return "", false
	}
	t := []byte(token)
	body := t[shortTag:]
	cipher.NewCTR(k.block, t[:shortTag]).XORKeyStream(body, body)
	end := len(body) - 1
	for end > 0 && body[end] == 0 {
		end--
	}
	user := string(body[:end])
	if body[end] != 0x80 || !hmac.Equal(k.hash(namespace, user)[:shortTag], t[:shortTag]) {
		return "", false
	}
	return user, true
}

// hashed reports whether a token is of a user that is too long to be in it.
func hashed(token string) bool { return len(token) == longTag }
