package postgres

import (
	"strconv"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// changeTypes are the first words of the lines of a notification.
var changeTypes = map[string]state.ChangeType{
	"c": state.Created,
	"u": state.Updated,
	"d": state.Deleted,
	"x": state.Expired,
}

// parseChanges reads a notification: a line for each change, as the function
// coatcheck_line writes them. It returns false if changes are missing from it.
func parseChanges(payload string) (changes []state.Change, complete bool) {
	for line := range strings.Lines(payload) {
		c, ok := parseChange(strings.TrimSuffix(line, "\n"))
		if !ok {
			return nil, false
		}
		changes = append(changes, c)
	}
	return changes, true
}

func parseChange(line string) (c state.Change, ok bool) {
	f := strings.SplitN(line, " ", 8)
	if len(f) != 8 {
		return c, false
	}
	ref, err := state.ParseRef(f[2])
	if err != nil {
		return c, false
	}
	version, err := strconv.ParseInt(f[4], 10, 64)
	if err != nil {
		return c, false
	}
	revision, err := strconv.ParseInt(f[5], 10, 64)
	if err != nil {
		return c, false
	}
	c = state.Change{
		Type: changeTypes[f[0]],
		Key:  state.Key{Namespace: f[1], Ref: ref}, Kind: f[3],
		Version: uint64(version), Revision: uint64(revision),
		Reason: state.Reason(f[6]), By: byReplacer.Replace(f[7]),
	}
	return c, c.Type != 0
}

// byReplacer undoes what coatcheck_line does to the last field, so that it
// stays on its line.
var byReplacer = strings.NewReplacer(`\\`, `\`, `\n`, "\n")
