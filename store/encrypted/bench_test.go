package encrypted_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/encrypted"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

// rawGCM opens 2 KiB with AES-256-GCM under one key: what a Get is compared
// with.
func rawGCM(b *testing.B, size int) func() {
	key, nonce := make([]byte, 32), make([]byte, 12)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	sealed := aead.Seal(nil, nonce, make([]byte, size), nil)
	return func() {
		if _, err := aead.Open(nil, nonce, sealed, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// filled returns a Get of a record of about 2 KiB from the bare and from the
// encrypted store.
func filled(b *testing.B) (bare, sealed func(), put func()) {
	ctx := b.Context()
	plain := memory.New(memory.Options{})
	b.Cleanup(func() { plain.Close() })
	wrapped := wrap(b, memory.New(memory.Options{}), newRing(b), encrypted.Options{})
	op := creation(b, "alice@example.com")
	op.Record.Meta = state.Metadata{UserAgent: "inspector/1.2", ProtocolVersion: "2025-11-25", Capabilities: json.RawMessage(`{"roots":{"listChanged":true}}`)}
	op.Record.Data = map[string]json.RawMessage{
		"cart": json.RawMessage(`"` + strings.Repeat("x", 1880) + `"`), "locale": json.RawMessage(`"de"`), "step": json.RawMessage(`3`),
	}
	key := op.Record.Key()
	do(b, plain, op)
	do(b, wrapped, op)
	get := func(s state.Store) func() {
		return func() {
			if _, err := s.Get(ctx, key); err != nil {
				b.Fatal(err)
			}
		}
	}
	version := uint64(1)
	return get(plain), get(wrapped), func() {
		do(b, wrapped, state.UpdateOp{Key: key, Version: version, Data: op.Record.Data})
		version++
	}
}

// BenchmarkGet reports what sealing adds to a Get of 2 KiB, over raw AES-GCM of
// as many bytes: gets and raw openings take turns, so that a busy machine is
// busy for all, and the medians count.
func BenchmarkGet(b *testing.B) {
	bare, sealed, _ := filled(b)
	raw := rawGCM(b, 2048)
	for _, c := range []struct {
		name string
		run  func()
	}{{"raw-gcm", raw}, {"bare", bare}, {"sealed", sealed}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.run()
			}
		})
	}
	b.Run("difference", func(b *testing.B) {
		var raws, adds, alls []float64
		for range max(b.N/200, 20) {
			r, p, e := turn(raw), turn(bare), turn(sealed)
			raws, adds, alls = append(raws, r), append(adds, e-p-r), append(alls, e-r)
		}
		b.ReportMetric(median(raws), "ns-raw-gcm")
		b.ReportMetric(median(adds), "ns-added")        // by sealing, to the bare store and raw GCM
		b.ReportMetric(median(alls), "ns-over-raw-gcm") // the bare store's time included
		b.ReportMetric(0, "ns/op")
	})
}

func turn(f func()) float64 {
	const n = 100
	start := time.Now()
	for range n {
		f()
	}
	return float64(time.Since(start)) / n
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func BenchmarkUpdate(b *testing.B) {
	_, _, put := filled(b)
	b.ReportAllocs()
	for b.Loop() {
		put()
	}
}
