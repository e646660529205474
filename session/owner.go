package session

// A WriteOption says on what condition a write by ref is made.
type WriteOption func(*writeOptions)

type writeOptions struct{ epoch uint64 }

// AtEpoch makes the write on condition that the session is still in this epoch
// of its ownership: how the process in which a session is live writes it. If
// another has taken it over since, the write is [ErrFenced] and changes
// nothing; it is not to be tried again. Zero: no condition.
func AtEpoch(epoch uint64) WriteOption {
	return func(o *writeOptions) { o.epoch = epoch }
}

func epochOf(opts []WriteOption) uint64 {
	var o writeOptions
	for _, set := range opts {
		set(&o)
	}
	return o.epoch
}
