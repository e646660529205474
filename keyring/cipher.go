package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
)

const (
	nonceSize = 24
	tagSize   = 16
	// Overhead is how much longer a sealed message is than its plaintext:
	// nonce and tag.
	Overhead = nonceSize + tagSize
)

// A Cipher seals and opens messages with one key: XAES-256-GCM
// (https://c2sp.org/XAES-256-GCM) with random nonces. It is safe for concurrent
// use.
type Cipher struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // the first subkey of CMAC (NIST SP 800-38B)
}

func newCipher(key Secret) *Cipher {
	block, err := aes.NewCipher(key.reveal()[:])
	if err != nil {
		panic("keyring: " + err.Error()) // only for keys of another length
	}
	c := &Cipher{block: block}
	block.Encrypt(c.k1[:], c.k1[:])
	msb := 0
	for i := len(c.k1) - 1; i >= 0; i-- {
		msb, c.k1[i] = int(c.k1[i]>>7), c.k1[i]<<1|byte(msb)
	}
	c.k1[len(c.k1)-1] ^= byte(subtle.ConstantTimeSelect(msb, 0b10000111, 0))
	return c
}

// Seal encrypts plaintext, authenticates it and the additional data, and
// appends nonce and ciphertext to dst. dst must not overlap plaintext.
func (c *Cipher) Seal(dst, plaintext, additional []byte) []byte {
	var nonce [nonceSize]byte
	rand.Read(nonce[:]) // never fails: the program ends instead
	return c.seal(append(dst, nonce[:]...), &nonce, plaintext, additional)
}

func (c *Cipher) seal(dst []byte, nonce *[nonceSize]byte, plaintext, additional []byte) []byte {
	return c.message(nonce[:12]).Seal(dst, nonce[12:], plaintext, additional)
}

// Open is the reverse of Seal and appends the plaintext to dst, which must not
// overlap sealed. For anything but what Seal returned for the same key and
// additional data it fails with [ErrOpen].
func (c *Cipher) Open(dst, sealed, additional []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, ErrOpen
	}
	nonce, sealed := sealed[:nonceSize], sealed[nonceSize:]
	plaintext, err := c.message(nonce[:12]).Open(dst, nonce[12:], sealed, additional)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}

// message returns AES-GCM with the key of a message: CMAC in counter mode (NIST
// SP 800-108r1) with the first half of the nonce as context and "X" as label.
// Each input is one full block, so that CMAC is one block of AES.
func (c *Cipher) message(context []byte) cipher.AEAD {
	key := make([]byte, 0, 2*aes.BlockSize)
	key = append(key, 0, 1, 'X', 0)
	key = append(key, context...)
	key = append(key, 0, 2, 'X', 0)
	key = append(key, context...)
	for _, half := range [][]byte{key[:aes.BlockSize], key[aes.BlockSize:]} {
		subtle.XORBytes(half, half, c.k1[:])
		c.block.Encrypt(half, half)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("keyring: " + err.Error()) // only for keys of another length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("keyring: " + err.Error()) // only for other block sizes
	}
	return aead
}

// String does not show the key, and neither does Format.
func (c *Cipher) String() string { return redacted }

// Format implements [fmt.Formatter] for every verb.
func (c *Cipher) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }
