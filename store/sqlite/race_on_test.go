//go:build race

package sqlite

// raced: the race detector makes SQLite, which is Go here, many times slower.
const raced = true
