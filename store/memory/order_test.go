package memory

import (
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// numbered returns refs in the order of their numbers.
func numbered(n uint32) state.Ref {
	b := make([]byte, 17)
	binary.BigEndian.PutUint32(b, n)
	b[16] = 1
	ref, err := state.RefFromBytes(b)
	if err != nil {
		panic(err)
	}
	return ref
}

// walk returns all numbers in the order, page by page.
func walk(o *order, page int) (numbers []uint32) {
	var after state.Ref
	for {
		got := o.page(after, make([]*entry, 0, page))
		if len(got) == 0 {
			return numbers
		}
		for _, e := range got {
			numbers = append(numbers, binary.BigEndian.Uint32(e.rec.Ref.Bytes()))
		}
		after = got[len(got)-1].rec.Ref
	}
}

func TestOrderIsThatOfASortedSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o order
		model := map[uint32]bool{}
		// Enough to split and join chunks.
		for range rapid.IntRange(1, 40).Draw(t, "runs") {
			start := rapid.Uint32Range(0, 4000).Draw(t, "start")
			step := rapid.Uint32Range(1, 7).Draw(t, "step")
			add := rapid.IntRange(0, 2).Draw(t, "add") > 0
			for i := range rapid.Uint32Range(0, 300).Draw(t, "count") {
				n := start + i*step
				switch {
				case add && !model[n]:
					o.insert(numbered(n), &entry{rec: state.Record{Ref: numbered(n)}})
					model[n] = true
				case !add:
					o.remove(numbered(n))
					delete(model, n)
				}
			}
		}
		want := slices.Sorted(maps.Keys(model))
		if got := walk(&o, rapid.IntRange(1, 600).Draw(t, "page")); !slices.Equal(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
		for i, c := range o.chunks {
			if len(c) == 0 || len(c) > chunkSize {
				t.Fatalf("chunk %d has %d items", i, len(c))
			}
		}
	})
}

func TestHeapGivesTheEarliestFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h deadlines
		var in []*entry
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			due := rapid.Int64Range(0, 50).Draw(t, "due")
			pick := func() int { return rapid.IntRange(0, len(in)-1).Draw(t, "pick") }
			switch what := rapid.IntRange(0, 3).Draw(t, "what"); {
			case what <= 1 || len(in) == 0:
				e := &entry{due: due}
				h.push(e)
				in = append(in, e)
			case what == 2:
				i := pick()
				h.remove(in[i])
				if in[i].inHeap != -1 {
					t.Fatal("removed and still in the heap")
				}
				in = slices.Delete(in, i, i+1)
			default:
				e := in[pick()]
				e.due = due
				h.fix(e)
			}
		}
		last := int64(-1)
		for range in {
			e := h[0]
			if e.due < last {
				t.Fatalf("%d after %d", e.due, last)
			}
			last = e.due
			h.remove(e)
		}
		if len(h) != 0 {
			t.Fatalf("%d left", len(h))
		}
	})
}

func TestQueueIsFirstInFirstOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue[int]
		var model []int
		for i := range rapid.IntRange(0, 300).Draw(t, "steps") {
			if len(model) > 0 && rapid.IntRange(0, 2).Draw(t, "what") > 0 {
				if got := q.pop(); got != model[0] {
					t.Fatalf("got %d, want %d", got, model[0])
				}
				model = model[1:]
			} else {
				q.push(i)
				model = append(model, i)
			}
			if q.len() != len(model) || len(q.items) > 2*len(model)+1 {
				t.Fatalf("length %d of %d, want %d", q.len(), len(q.items), len(model))
			}
		}
	})
}
