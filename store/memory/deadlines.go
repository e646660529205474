package memory

// deadlines is a binary heap of entries by their due time. It is written out,
// without container/heap, since it is on the path of every Create and Delete.
type deadlines []*entry

func (h *deadlines) push(e *entry) {
	e.inHeap = len(*h)
	*h = append(*h, e)
	h.up(e.inHeap)
}

func (h *deadlines) remove(e *entry) {
	i, last := e.inHeap, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	e.inHeap = -1
	if i < last && !h.down(i) {
		h.up(i)
	}
}

// fix restores the order after e.due has changed.
func (h *deadlines) fix(e *entry) {
	if !h.down(e.inHeap) {
		h.up(e.inHeap)
	}
}

func (h *deadlines) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if (*h)[parent].due <= (*h)[i].due {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

// down reports whether the entry moved.
func (h *deadlines) down(i int) bool {
	start := i
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(*h); child++ {
			if (*h)[child].due < (*h)[least].due {
				least = child
			}
		}
		if least == i {
			return i > start
		}
		h.swap(i, least)
		i = least
	}
}

func (h *deadlines) swap(i, j int) {
	s := *h
	s[i], s[j] = s[j], s[i]
	s[i].inHeap, s[j].inHeap = i, j
}
