package redis_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/coatcheck-mcp/coatcheck/internal/testkit/redisserver"
	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/redis"
)

// benchRecords is how many records the benchmarks work on.
const benchRecords = 1000

// benchValue is data of 2 KiB.
var benchValue = json.RawMessage(`"` + strings.Repeat("x", 2046) + `"`)

func benchStore(b *testing.B) (*redis.Store, rueidis.Client, []state.Key) {
	b.Helper()
	server := redisserver.Start(b)
	s := open(b, redis.Options{Addresses: []string{server.Addr()}})
	raw, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(raw.Close)
	keys := make([]state.Key, benchRecords)
	for i := range keys {
		ref, err := state.NewRef(byte(i), rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		keys[i] = state.Key{Namespace: "bench", Ref: ref}
		r := s.Apply(context.Background(), state.CreateOp{
			Record: state.Record{
				Namespace: "bench", Ref: ref, Kind: "session", User: fmt.Sprint("user-", i),
				Data: map[string]json.RawMessage{"v": benchValue},
			},
			Idle: time.Hour, Lifetime: 2 * time.Hour,
		})[0]
		if r.Err != nil {
			b.Fatal(r.Err)
		}
		if err := raw.Do(context.Background(), raw.B().Set().Key(fmt.Sprint("raw", i)).Value(string(benchValue)).Build()).Error(); err != nil {
			b.Fatal(err)
		}
	}
	return s, raw, keys
}

// with64 calls fn from 64 goroutines, each with record numbers of its own.
//
// Besides the time it reports what the work costs, of the server's processor
// and of this process's: unlike the time that says something on a busy machine
// too.
func with64(b *testing.B, raw rueidis.Client, fn func(i int) error) {
	b.Helper()
	server, here := serverCPU(b, raw), ownCPU(b)
	defer func() {
		b.ReportMetric(float64(serverCPU(b, raw)-server)/1e3/float64(b.N), "server-µs/op")
		b.ReportMetric(float64(ownCPU(b)-here)/1e3/float64(b.N), "client-µs/op")
	}()
	var callers atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		caller := int(callers.Add(1))
		for n := 0; pb.Next(); n++ {
			if err := fn((caller + 64*n) % (benchRecords / 64 * 64)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	ctx := context.Background()
	s, raw, keys := benchStore(b)
	b.Run("store", func(b *testing.B) {
		with64(b, raw, func(i int) error { _, err := s.Get(ctx, keys[i]); return err })
	})
	b.Run("raw", func(b *testing.B) {
		with64(b, raw, func(i int) error {
			_, err := raw.Do(ctx, raw.B().Get().Key(fmt.Sprint("raw", i)).Build()).AsBytes()
			return err
		})
	})
}

func BenchmarkUpdate(b *testing.B) {
	ctx := context.Background()
	s, raw, keys := benchStore(b)
	versions := make([]uint64, len(keys))
	for i := range versions {
		versions[i] = 1
	}
	update := func(i int) error {
		// No two callers have a record in common.
		r := s.Apply(ctx, state.UpdateOp{
			Key: keys[i], Version: versions[i], Data: map[string]json.RawMessage{"v": benchValue},
		})[0]
		versions[i] = max(r.Stamp.Version, versions[i])
		return r.Err
	}
	b.Run("store", func(b *testing.B) { with64(b, raw, update) })
	b.Run("watched", func(b *testing.B) {
		ctx, stop := context.WithCancel(ctx)
		changes, err := s.Watch(ctx, state.WatchOptions{Namespace: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			for range changes {
			}
		}()
		with64(b, raw, update)
		b.StopTimer()
		stop()
		<-heard
	})
	b.Run("raw", func(b *testing.B) {
		with64(b, raw, func(i int) error {
			return raw.Do(ctx, raw.B().Set().Key(fmt.Sprint("raw", i)).Value(string(benchValue)).Build()).Error()
		})
	})
}

// serverCPU is the time that the server has computed.
func serverCPU(b *testing.B, raw rueidis.Client) time.Duration {
	b.Helper()
	info, err := raw.Do(context.Background(), raw.B().Info().Section("cpu").Build()).ToString()
	if err != nil {
		b.Fatal(err)
	}
	var total float64
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			total += seconds
		}
	}
	return time.Duration(total * float64(time.Second))
}

// ownCPU is the time that this process has computed.
func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
