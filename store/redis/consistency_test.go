package redis_test

import (
	"context"
	"encoding/binary"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"
)

// checkConsistency reads all keys of all servers, which must be at rest, and
// checks that records and indexes agree: each record is in each of its indexes
// under the right score, each entry of an index has its record, tombstones are
// in their index and in no other, and events have a record.
func checkConsistency(t testing.TB, addresses ...string) {
	t.Helper()
	d := &dump{TB: t, strings: map[string]string{}, sets: map[string]map[string]float64{}, others: map[string]string{}}
	for _, addr := range addresses {
		d.load(addr)
	}
	records, entries := 0, 0
	for key, value := range d.strings {
		tag, name, _ := strings.Cut(key, "}:")
		tag += "}:"
		if !strings.HasPrefix(name, "r:") {
			continue
		}
		records++
		m := name[2:]
		if value[0] == 't' {
			entries++
			if _, ok := d.sets[tag+"t"][m]; !ok {
				t.Errorf("tombstone %q is not in its index", key)
			}
			continue
		}
		entries += d.checkRecord(tag, m, value)
	}
	for key, members := range d.sets {
		entries -= len(members)
		tag, name, _ := strings.Cut(key, "}:")
		tag += "}:"
		for m := range members {
			v, ok := d.strings[tag+"r:"+m]
			if !ok || (name == "t") != (v[0] == 't') {
				t.Errorf("index %q has an entry without its record", key)
			}
		}
	}
	for key, kind := range d.others {
		tag, name, _ := strings.Cut(key, "}:")
		if m, ok := strings.CutPrefix(name, "e:"); ok && kind == "hash" && !strings.HasPrefix(d.strings[tag+"}:r:"+m], "r") {
			t.Errorf("events %q have no record", key)
		}
	}
	if entries != 0 {
		t.Errorf("records should have %d more entries in indexes than there are", entries)
	}
	t.Logf("%d records and tombstones and their indexes agree", records)
}

// A dump is all that servers hold.
type dump struct {
	testing.TB
	strings map[string]string
	sets    map[string]map[string]float64
	others  map[string]string // name to type
}

func (d *dump) load(addr string) {
	d.Helper()
	ctx := context.Background()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		d.Fatal(err)
	}
	defer c.Close()
	keys, err := c.Do(ctx, c.B().Keys().Pattern("*").Build()).AsStrSlice()
	if err != nil {
		d.Fatal(err)
	}
	for _, key := range keys {
		kind, err := c.Do(ctx, c.B().Type().Key(key).Build()).ToString()
		if err != nil {
			d.Fatal(err)
		}
		switch kind {
		case "string":
			d.strings[key], err = c.Do(ctx, c.B().Get().Key(key).Build()).ToString()
		case "zset":
			var scores []rueidis.ZScore
			scores, err = c.Do(ctx, c.B().Zrange().Key(key).Min("0").Max("-1").Withscores().Build()).AsZScores()
			d.sets[key] = map[string]float64{}
			for _, z := range scores {
				d.sets[key][z.Member] = z.Score
			}
		default:
			d.others[key] = kind
		}
		if err != nil {
			d.Fatal(err)
		}
	}
}

// checkRecord returns how many entries the record has.
func (d *dump) checkRecord(tag, m, value string) int {
	d.Helper()
	b := []byte(value)
	created, idle, absolute := binary.BigEndian.Uint64(b[50:]), binary.BigEndian.Uint64(b[66:]), binary.BigEndian.Uint64(b[74:])
	nkind, nuser := int(b[82]), int(binary.BigEndian.Uint16(b[83:]))
	kind, user := value[95:95+nkind], value[95+nkind:95+nkind+nuser]
	want := map[string]float64{"o": 0, "d:" + kind: float64(min(idle, absolute)), "u:" + kind + ":" + user: float64(created)}
	if user == "" {
		delete(want, "u:"+kind+":")
	}
	for index, score := range want {
		if got, ok := d.sets[tag+index][m]; !ok || got != score {
			d.Errorf("record %q is in its index %q: %v, with score %s, want %s", m, index, ok,
				strconv.FormatFloat(got, 'f', 0, 64), strconv.FormatFloat(score, 'f', 0, 64))
		}
	}
	return len(want)
}
