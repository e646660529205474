package redis

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/state"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// A script is one atomic step. It is called by the hash of its source and sent
// whole where the server does not know it, after a restart, say.
type script struct{ source, sha string }

// A script that fails has written nothing: it reads all it needs before it
// writes. The flags let what takes no room, or frees it, work on a full
// server.
const (
	flagsNone     = "#!lua"
	flagsAllowOOM = "#!lua flags=allow-oom"
	flagsNoWrites = "#!lua flags=no-writes"
)

// scripts are all steps there are.
type scripts struct {
	create, importing, update, touch, extend, owner, remove, sweep *script
	updates                                                        *script // several at once
	due, page                                                      *script
	appendEvents, readEvents, tailEvents, trimEvents               *script
}

// newScripts composes the scripts; now is the part that tells the time.
func newScripts(now string) *scripts {
	step := func(flags string, names ...string) *script {
		parts := []string{part("names"), now}
		for _, name := range names {
			parts = append(parts, part(name))
		}
		return compose(flags, parts...)
	}
	return &scripts{
		create:    step(flagsNone, "bump", "tomb", "tell", "note", "create"),
		importing: step(flagsNone, "tell", "note", "import"),
		update:    step(flagsNone, "change", "live", "bump", "tell", "note", "update"),
		updates:   step(flagsNone, "bump", "collect", "note", "step", "live", "update", "each"),
		touch:     step(flagsAllowOOM, "one", "live", "fence", "bump", "touch"),
		extend:    step(flagsAllowOOM, "one", "live", "fence", "bump", "tell", "note", "extend"),
		owner:     step(flagsAllowOOM, "one", "live", "fence", "bump", "tell", "note", "owner"),
		remove:    step(flagsAllowOOM, "one", "bump", "tomb", "tell", "note", "delete"),
		sweep:     step(flagsAllowOOM, "bump", "tomb", "tell", "note", "sweep"),

		due:  step(flagsNoWrites, "due"),
		page: step(flagsNoWrites, "page"),

		appendEvents: step(flagsNone, "one", "live", "fence", "etrimfns", "eappend"),
		readEvents:   step(flagsNoWrites, "one", "live", "eread"),
		tailEvents:   step(flagsNoWrites, "one", "live", "etail"),
		trimEvents:   step(flagsAllowOOM, "one", "live", "etrimfns", "etrim"),
	}
}

func (s *scripts) all() []*script {
	return []*script{
		s.create, s.importing, s.update, s.updates, s.touch, s.extend, s.owner, s.remove, s.sweep, s.due, s.page,
		s.appendEvents, s.readEvents, s.tailEvents, s.trimEvents,
	}
}

// compose joins the parts of a script. The check of the epoch has its place
// within some of them.
func compose(flags string, parts ...string) *script {
	source := flags + "\n"
	for _, p := range parts {
		source += strings.NewReplacer("-- FENCE\n", part("fence"), "MAX_RECORD", strconv.Itoa(state.MaxRecordBytes)).Replace(p)
	}
	sum := sha1.Sum([]byte(source))
	return &script{source: source, sha: hex.EncodeToString(sum[:])}
}

func part(name string) string {
	b, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic("a script is missing from the binary: " + name)
	}
	return string(b)
}
