//go:build !(linux || darwin)

package sqlite

const headerWords = 6

// newWitness returns the witness that works everywhere: elsewhere the locks of
// SQLite are dropped when another descriptor of the same file is closed, so
// that its shared memory cannot be mapped beside it.
func (s *Store) newWitness(*conn) witness { return &versionWitness{} }
