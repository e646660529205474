package keyring

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

func fixedSecret(t testing.TB, fill byte) Secret {
	t.Helper()
	s, err := SecretFromBytes(bytes.Repeat([]byte{fill}, SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The vectors of https://c2sp.org/XAES-256-GCM.
func TestCipherIsXAES(t *testing.T) {
	nonce := [nonceSize]byte([]byte("ABCDEFGHIJKLMNOPQRSTUVWX"))
	for _, c := range []struct {
		key             byte
		additional, out string
	}{
		{0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		got := newCipher(fixedSecret(t, c.key)).seal(nil, &nonce, []byte("XAES-256-GCM"), []byte(c.additional))
		if hex.EncodeToString(got) != c.out {
			t.Errorf("key %x: got %x, want %s", c.key, got, c.out)
		}
	}
}

// The accumulated vectors of the same: ten thousand messages of random keys,
// nonces and lengths.
func TestCipherIsXAESForManyMessages(t *testing.T) {
	const want = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
	source, sum := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	take := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(source, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for range 10_000 {
		key, err := SecretFromBytes(take(SecretSize))
		if err != nil {
			t.Fatal(err)
		}
		nonce := [nonceSize]byte(take(nonceSize))
		plaintext := take(int(take(1)[0]))
		additional := take(int(take(1)[0]))
		c := newCipher(key)
		sealed := c.seal(nil, &nonce, plaintext, additional)
		sum.Write(sealed)
		got, err := c.Open(nil, append(nonce[:], sealed...), additional)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("%v: got %x, want %x", err, got, plaintext)
		}
	}
	got := make([]byte, 32)
	sum.Read(got)
	if hex.EncodeToString(got) != want {
		t.Errorf("got %x, want %s", got, want)
	}
}

func TestCipherOpensOnlyWhatItSealed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytesOf := rapid.SliceOfN(rapid.Byte(), 0, 200)
		plaintext, additional := bytesOf.Draw(t, "plaintext"), bytesOf.Draw(t, "additional")
		key, _ := SecretFromBytes(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
		c := newCipher(key)
		sealed := c.Seal([]byte("before"), plaintext, additional)[6:]
		if len(sealed) != len(plaintext)+Overhead {
			t.Fatalf("sealed %d bytes to %d", len(plaintext), len(sealed))
		}
		refused := func(c *Cipher, sealed, additional []byte) {
			if got, err := c.Open(nil, sealed, additional); !errors.Is(err, ErrOpen) || got != nil {
				t.Fatalf("got %x, %v", got, err)
			}
		}
		i := rapid.IntRange(0, len(sealed)-1).Draw(t, "byte")
		changed := bytes.Clone(sealed)
		changed[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		refused(c, changed, additional)
		refused(c, sealed[:i], additional)
		refused(c, append(bytes.Clone(sealed), 0), additional)
		refused(c, sealed, append(bytes.Clone(additional), 0))
		refused(newCipher(key.derive("other")), sealed, additional)

		got, err := c.Open([]byte{}, sealed, additional)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("%v: got %x, want %x", err, got, plaintext)
		}
	})
}

func TestSealingTwiceDiffers(t *testing.T) {
	c := newCipher(fixedSecret(t, 7))
	if bytes.Equal(c.Seal(nil, []byte("x"), nil), c.Seal(nil, []byte("x"), nil)) {
		t.Error("two messages are alike: the nonce is not random")
	}
}
