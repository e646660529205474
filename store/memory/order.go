package memory

import (
	"slices"
	"sort"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// chunkSize bounds a chunk of an order. An insertion moves half a chunk and,
// once in a while, half the list of chunks.
const chunkSize = 256

// An order keeps entries sorted by ref: chunks of sorted items, none empty,
// the chunks sorted too. That is a B-tree of two levels, which a million
// records do not outgrow.
type order struct{ chunks [][]orderItem }

type orderItem struct {
	ref   state.Ref
	entry *entry
}

func compareItem(it orderItem, ref state.Ref) int { return it.ref.Compare(ref) }

// chunkOf returns the index of the chunk in which ref is or would be.
func (o *order) chunkOf(ref state.Ref) int {
	behind := sort.Search(len(o.chunks), func(i int) bool { return o.chunks[i][0].ref.Compare(ref) > 0 })
	return max(behind-1, 0)
}

// insert adds an entry whose ref is not there.
func (o *order) insert(ref state.Ref, e *entry) {
	if len(o.chunks) == 0 {
		o.chunks = append(o.chunks, append(make([]orderItem, 0, chunkSize), orderItem{ref, e}))
		return
	}
	c := o.chunkOf(ref)
	chunk := o.chunks[c]
	if len(chunk) == chunkSize {
		upper := append(make([]orderItem, 0, chunkSize), chunk[chunkSize/2:]...)
		clear(chunk[chunkSize/2:])
		o.chunks[c] = chunk[:chunkSize/2]
		o.chunks = slices.Insert(o.chunks, c+1, upper)
		if upper[0].ref.Compare(ref) < 0 {
			c++
		}
		chunk = o.chunks[c]
	}
	at, _ := slices.BinarySearchFunc(chunk, ref, compareItem)
	o.chunks[c] = slices.Insert(chunk, at, orderItem{ref, e})
}

func (o *order) remove(ref state.Ref) {
	if len(o.chunks) == 0 {
		return
	}
	c := o.chunkOf(ref)
	at, found := slices.BinarySearchFunc(o.chunks[c], ref, compareItem)
	if !found {
		return
	}
	o.chunks[c] = slices.Delete(o.chunks[c], at, at+1)
	switch {
	case len(o.chunks[c]) == 0:
		o.chunks = slices.Delete(o.chunks, c, c+1)
	case c > 0 && len(o.chunks[c-1])+len(o.chunks[c]) <= chunkSize/2:
		// Half full at most, so that it is not split again at once.
		o.chunks[c-1] = append(o.chunks[c-1], o.chunks[c]...)
		o.chunks = slices.Delete(o.chunks, c, c+1)
	}
}

// page appends to buf the entries behind ref, until it is full.
func (o *order) page(after state.Ref, buf []*entry) []*entry {
	if len(o.chunks) == 0 {
		return buf
	}
	c := o.chunkOf(after)
	at, found := slices.BinarySearchFunc(o.chunks[c], after, compareItem)
	if found {
		at++
	}
	for ; c < len(o.chunks); c, at = c+1, 0 {
		for ; at < len(o.chunks[c]); at++ {
			if len(buf) == cap(buf) {
				return buf
			}
			buf = append(buf, o.chunks[c][at].entry)
		}
	}
	return buf
}
